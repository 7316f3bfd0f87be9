# SPDX-License-Identifier: Apache-2.0
"""The event loop's side of recording: passes events to the writer and caches the newest ones.

Most events arrive twice within seconds (two webhook targets). The second copy is answered from memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

from sqlalchemy import Engine

from oscar_fedcloud.domain.events import Recording
from oscar_fedcloud.ledger.errors import LedgerUnavailable
from oscar_fedcloud.ledger.recording.recorder import DeadLetterRow, IdentifiedRecording, named
from oscar_fedcloud.ledger.recording.writer import Outcome, Pending, Writer

RECENT = 16_384  # some seconds at full load


class CommitListener(Protocol):
    """Is informed of commits."""

    def committed(self, recordings: Sequence[Recording]) -> None:
        """Handle new recordings that are on disk. Called on the event loop."""


class Intake:
    """Records events through its writer. Methods must be called on an event loop."""

    def __init__(self, engine: Engine, guard: Callable[[], None] | None = None) -> None:
        self.listener: CommitListener | None = None
        self.writer = Writer(engine, self._settle, guard)
        self._recent = _Recent()
        self._memory_hits = 0

    def record(self, recording: Recording) -> asyncio.Future[bool]:
        """Queue an event; the result of the future, available once it is on disk, is whether the event was new."""
        item = named(recording)
        if isinstance(item, DeadLetterRow) or not self._recent.holds(item):
            return self._submit(item)
        self._memory_hits += 1
        future = asyncio.get_running_loop().create_future()
        future.set_result(False)
        return future

    def dead_letter(self, source: str, body: bytes, reason: str) -> asyncio.Future[bool]:
        """Queue a dead letter; the future completes once it is on disk."""
        return self._submit(DeadLetterRow(source, body, reason))

    def forget(self) -> None:
        """Clear the cache, so that the tables are read for every event (from any thread)."""
        self._recent = _Recent()

    def stats(self) -> dict[str, int]:
        """Return the writer's counters, and the number of duplicates found without reading the tables."""
        return asdict(self.writer.counters) | {"duplicates_memory": self._memory_hits}

    def _submit(self, item: IdentifiedRecording | DeadLetterRow) -> asyncio.Future[bool]:
        future = asyncio.get_running_loop().create_future()
        self.writer.put(Pending(item, future))
        return future

    def _settle(self, settled: Sequence[tuple[Pending, Outcome]]) -> None:
        """Cache what was committed and wake waiting callers. Runs on the event loop."""
        fresh = []
        for pending, outcome in settled:
            if not pending.future.done():  # it is done if its waiter was cancelled
                _resolve(pending.future, outcome)
            if isinstance(pending.item, DeadLetterRow) or isinstance(outcome, LedgerUnavailable):
                continue
            self._recent.add(pending.item)
            if outcome:
                fresh.append(pending.item.recording)
        if fresh and self.listener is not None:
            self.listener.committed(fresh)


class _Recent:
    """A cache of events that are on disk: at least the newest ``RECENT``, at most twice as many."""

    def __init__(self) -> None:
        self._young: dict[str, tuple[str, ...]] = {}  # event id -> services
        self._old: dict[str, tuple[str, ...]] = {}

    def holds(self, item: IdentifiedRecording) -> bool:
        """Return whether the event is on disk with all services of this recording."""
        services = self._young.get(item.identity) or self._old.get(item.identity)
        wanted = item.recording.services
        return services is not None and (services == wanted or set(services).issuperset(wanted))

    def add(self, item: IdentifiedRecording) -> None:
        """Add a committed recording."""
        if len(self._young) >= RECENT:
            self._old, self._young = self._young, {}
        self._young[item.identity] = item.recording.services


def _resolve(future: asyncio.Future[bool], outcome: Outcome) -> None:
    if isinstance(outcome, LedgerUnavailable):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
