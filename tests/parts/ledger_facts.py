# SPDX-License-Identifier: Apache-2.0
"""Short ways to say what the ledger's tests are about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.domain.jsontext import to_json
from oscar_fedcloud.domain.runs import Attempt, AttemptState, Completion, Run, RunState, job_name, run_id
from oscar_fedcloud.ledger import Ledger, RunTransition


def event(key: str = "in/a.jpg", revision: str = "r1", order: int = 1, **more: Any) -> StorageEvent:
    """An object in the bucket ``photos``."""
    more.setdefault("record", to_json({"s3": {"object": {"key": key}}}))
    return StorageEvent("minio.default", more.pop("bucket", "photos"), key, revision, order, **more)


def recording(found: StorageEvent, *services: str) -> Recording:
    """The event for these services, ``grayify`` if none is given."""
    return Recording(found, services or ("grayify",), EventOutcome.MATCHED)


def unmatched(found: StorageEvent, outcome: EventOutcome = EventOutcome.NO_SERVICE, detail: str = "") -> Recording:
    """The event when no service wants it."""
    return Recording(found, (), outcome, detail)


def store(ledger: Ledger, *recordings: Recording) -> list[bool]:
    """Record all at once; tells for each whether it was new."""

    async def record_all() -> list[bool]:
        return await asyncio.gather(*(ledger.record(item) for item in recordings))

    return asyncio.run(record_all())


def queue(ledger: Ledger, *events: StorageEvent, service: str = "grayify") -> list[Run]:
    """Queued runs of these events."""
    store(ledger, *(recording(item, service) for item in events))
    return [stored(ledger, run_id(service, item)) for item in events]


def stored(ledger: Ledger, run: str) -> Run:
    """A run that must be there."""
    found = ledger.run(run)
    assert found is not None, f"run {run} is not in the ledger"
    return found


def begin(ledger: Ledger, *runs: Run) -> list[Attempt]:
    """Start these runs."""
    starts = [(run.id, job_name(run.service, run.id, run.attempts + 1)) for run in runs]
    return [attempt for _, attempt in ledger.begin(starts, [], time.time())]


def end(ledger: Ledger, attempt: Attempt, state: RunState = RunState.SUCCEEDED, **more: Any) -> Run | None:
    """End an attempt, and with it (or not) its run."""
    outcome = AttemptState.SUCCEEDED if state is RunState.SUCCEEDED else AttemptState.FAILED
    completion = Completion(attempt.job, outcome, 0 if state is RunState.SUCCEEDED else 1)
    return ledger.finish(attempt.job, completion, RunTransition(state, **more))


def run_to(ledger: Ledger, run: Run, state: RunState = RunState.SUCCEEDED, **more: Any) -> Run:
    """Begin a run and end it in that state."""
    ended = end(ledger, *begin(ledger, run), state=state, **more)
    assert ended is not None
    return ended


def due(ledger: Ledger, service: str = "grayify", limit: int = 100, now: float | None = None) -> list[str]:
    """What could be started or superseded now, as ``revision``, with ``<`` behind those that have a newer one."""
    candidates = ledger.due(service, time.time() if now is None else now, limit)
    return [item.run.event.revision + ("<" if item.newer else "") for item in candidates]


def ids(runs: Iterable[Run]) -> list[str]:
    """The runs' ids."""
    return [run.id for run in runs]
