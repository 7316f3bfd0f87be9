# SPDX-License-Identifier: Apache-2.0
"""Looks at the queues of services. One that fails is left alone for a while, and holds up no other."""

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

_WINDOW = 64  # candidates looked at beyond the free places, since some are superseded or wait for their key's turn
_PAUSE, _PAUSE_MAX = 2.0, 60.0  # s for which a queue that failed is left alone

FreeSlots = Mapping[str, tuple[int, Policy]]  # service -> free places, policy


@dataclass(slots=True)
class QueueContents:
    """Due runs by service, when the next waiting run of each service is due, and the services that failed."""

    due: dict[str, list[Candidate]] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    failed: dict[str, Exception] = field(default_factory=dict)


class Queues:
    """The services' queues in the ledger. ``look`` blocks; all else belongs to the event loop."""

    def __init__(self, ledger: Ledger, troubles: Troubles) -> None:
        self.ledger = ledger
        self.troubles = troubles
        self._held: dict[str, tuple[float, float]] = {}  # service -> until when (monotonic), pause

    def look(self, room: FreeSlots, total: int, now: float) -> QueueContents:
        """Look at the queues of services. Blocks. One that fails unexpectedly leaves the others."""
        found = QueueContents()
        for name, (free, policy) in room.items():
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
        """Leave a queue alone for a while; returns until when (s since the epoch)."""
        _, pause = self._held.get(service, (0.0, _PAUSE / 2))
        pause = doubled(pause, _PAUSE_MAX)
        self._held[service] = time.monotonic() + pause, pause
        report(log, "the queue of a service failed, it will be looked at again", error, service=service)
        self.troubles.note(f"queue of service {service}", error, pause)
        return time.time() + pause

    def works(self, service: str) -> None:
        """Note that the queue could be worked on."""
        if self._held.pop(service, None):
            self.troubles.clear(f"queue of service {service}")

    def is_held(self, service: str) -> bool:
        """Return whether the queue is left alone."""
        if not self._held:
            return False
        until, _ = self._held.get(service, (0.0, 0.0))
        return time.monotonic() < until
