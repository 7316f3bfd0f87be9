# SPDX-License-Identifier: Apache-2.0
"""The interfaces through which the dispatcher uses the rest of the daemon."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from oscar_fedcloud.dispatch.policy import Policy
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Attempt, Completion, OutputPlace, Run, StoredObject
from oscar_fedcloud.launchers.port import JobSpec


class DispatcherPorts(Protocol):
    """The services and stores, as the dispatcher sees them."""

    def policy(self, service: str) -> Policy | None:
        """Return the policy of a service that may start Jobs now, else None."""

    def spec(self, run: Run, attempt: int, written: Sequence[StoredObject]) -> JobSpec:
        """Return the Job of an attempt of a run that has already written these objects. Raises LaunchError."""

    def places(self, run: Run, attempt: Attempt) -> tuple[OutputPlace, ...]:
        """Return the places that an attempt may have written to, or () if they are no longer known."""

    async def is_current(self, event: StorageEvent) -> bool:
        """Return whether the store has exactly this revision of the object now. Raises StoreError."""

    def input_changed(self, event: StorageEvent) -> None:
        """Look for a newer revision of an input that was found changed."""

    def run_ended(self) -> None:
        """Handle that the end of a run was recorded."""


class EndListener(Protocol):
    """Receives recorded ends."""

    def job_ended(self, completion: Completion, run: Run | None) -> None:
        """Handle the recorded end of a Job. ``run`` is None if the ledger does not know the Job."""


class ServiceQueues(Protocol):
    """The queues of services."""

    def wake(self, services: Iterable[str]) -> None:
        """Check these services for due runs."""
