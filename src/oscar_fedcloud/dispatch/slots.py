# SPDX-License-Identifier: Apache-2.0
"""The dispatcher's count of existing Jobs: one slot for each attempt that has not ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from oscar_fedcloud.domain.runs import Attempt, Run, object_id


class Slots:
    """The slots in use. Must be used on the event loop.

    Attributes:
        running: the number of Jobs of each service.
    """

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self._runs: dict[str, Run] = {}  # Job -> its run
        self._turns: dict[str, str] = {}  # object_id of a run that has a Job -> the run
        self._freed: set[str] | None = None  # Jobs that have ended since ``note_ends``

    def take(self, run: Run, attempt: Attempt) -> None:
        """Take a slot for the Job of an attempt, unless it already has one."""
        if attempt.job not in self._runs:
            self._runs[attempt.job] = run
            self.running[run.service] += 1
            self._turns[object_id(run.service, run.event)] = run.id

    def free(self, job: str) -> bool:
        """Free the Job's slot; return False if it had none."""
        if self._freed is not None:
            self._freed.add(job)
        run = self._runs.pop(job, None)
        if run is None:
            return False
        self.running[run.service] -= 1
        if self.running[run.service] <= 0:
            del self.running[run.service]
        self._turns.pop(object_id(run.service, run.event), None)
        return True

    def note_ends(self) -> None:
        """Start recording which Jobs end, until ``unknown`` is called."""
        self._freed = set()

    def unknown(self, attempts: Iterable[tuple[Run, Attempt]]) -> list[tuple[Run, Attempt]]:
        """Return those attempts, read since ``note_ends``, that have no slot and have not ended since."""
        known, self._freed = self._runs.keys() | (self._freed or set()), None
        return [(run, attempt) for run, attempt in attempts if attempt.job not in known]

    def holder(self, run: Run) -> str:
        """Return the id of the run that has a Job for this run's service and key, or "" if there is none."""
        return self._turns.get(object_id(run.service, run.event), "")

    def jobs_of(self, service: str) -> Sequence[str]:
        """Return the Jobs of a service."""
        return [job for job, run in self._runs.items() if run.service == service]

    def __contains__(self, job: str) -> bool:
        return job in self._runs

    def __len__(self) -> int:
        return len(self._runs)
