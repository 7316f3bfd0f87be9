# SPDX-License-Identifier: Apache-2.0
"""Reads the queues of services. A queue that fails is paused, and does not affect the others."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from oscar_fedcloud.dispatch.policy import Policy
from oscar_fedcloud.ledger import Candidate, Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import Troubles, doubled

log = structlog.get_logger(__name__)

_WINDOW = 64  # candidates read beyond the free slots, since some are superseded or wait for another run of their key
_PAUSE, _PAUSE_MAX = 2.0, 60.0  # s for which a queue that failed is paused

FreeSlots = Mapping[str, tuple[int, Policy]]  # service -> free slots, policy


@dataclass(slots=True)
class QueueContents:
    """The contents of queues.

    Attributes:
        due: due runs by service.
        timers: when the next waiting run of each service is due (s since the epoch).
        failed: the services whose queue failed.
    """

    due: dict[str, list[Candidate]] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)


class Queues:
    """The services' queues in the ledger. ``read`` blocks; all other methods must be called on the event loop."""

    def __init__(self, ledger: Ledger, troubles: Troubles) -> None:
        self.ledger = ledger
        self.troubles = troubles
        self._held: dict[str, tuple[float, float]] = {}  # service -> paused until (monotonic), pause

    def read(self, free_slots: FreeSlots, total: int, now: float) -> QueueContents:
        """Read the queues of services. Blocks. A queue that fails unexpectedly does not affect the others."""
        found = QueueContents()
        for name, (free, policy) in free_slots.items():
            try:
                if due := self.ledger.due(name, now, min(free, total) + _WINDOW, policy.longest_wait):
                    found.due[name] = due
                if (later := self.ledger.next_due(name, now, policy.longest_wait)) is not None:
                    found.timers[name] = float(later)
            except LedgerUnavailable:
                raise
            except Exception as error:
                found.due.pop(name, None)
                found.failed[name] = error
        return found

    def hold(self, service: str, error: BaseException) -> float:
        """Pause a queue; return until when (s since the epoch)."""
        _, pause = self._held.get(service, (0.0, _PAUSE / 2))
        pause = doubled(pause, _PAUSE_MAX)
        self._held[service] = time.monotonic() + pause, pause
        report(log, "the queue of a service failed, retrying", error, service=service)
        self.troubles.note(f"queue of service {service}", error, pause)
        return time.time() + pause

    def succeeded(self, service: str) -> None:
        """Record that the queue was read successfully."""
        if self._held.pop(service, None):
            self.troubles.clear(f"queue of service {service}")

    def is_held(self, service: str) -> bool:
        """Return whether the queue is paused."""
        if not self._held:
            return False
        until, _ = self._held.get(service, (0.0, 0.0))
        return time.monotonic() < until
