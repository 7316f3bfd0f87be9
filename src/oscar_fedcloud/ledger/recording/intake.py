# SPDX-License-Identifier: Apache-2.0
"""The event loop's side of recording: hands events to the writer, and remembers the newest ones.

Most events arrive twice within seconds (two webhook targets). The copy that comes second is answered from memory.
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
    """Is informed of what was committed."""

    def committed(self, recordings: Sequence[Recording]) -> None:
        """These were new, and are on disk. Called on the event loop."""


class Intake:
    """Records events through the writer that it starts. Its methods are called on an event loop."""

    def __init__(self, engine: Engine, guard: Callable[[], None] | None = None) -> None:
        self.listener: CommitListener | None = None
        self.writer = Writer(engine, self._settle, guard)
        self._recent = _Recent()
        self._memory_hits = 0

    def record(self, recording: Recording) -> asyncio.Future[bool]:
        """Queue an event; the future tells, once it is on disk, whether it was new."""
        item = named(recording)
        if isinstance(item, DeadLetterRow) or not self._recent.holds(item):
            return self._submit(item)
        self._memory_hits += 1
        future = asyncio.get_running_loop().create_future()
        future.set_result(False)
        return future

    def dead_letter(self, source: str, body: bytes, reason: str) -> asyncio.Future[bool]:
        """Queue a dead letter; the future is done once it is on disk."""
        return self._submit(DeadLetterRow(source, body, reason))

    def forget(self) -> None:
        """Ask the tables again about every event (from any thread)."""
        self._recent = _Recent()

    def stats(self) -> dict[str, int]:
        """The writer's counters, and how many duplicates needed no look at the tables."""
        return asdict(self.writer.counters) | {"duplicates_memory": self._memory_hits}

    def _submit(self, item: IdentifiedRecording | DeadLetterRow) -> asyncio.Future[bool]:
        future = asyncio.get_running_loop().create_future()
        self.writer.put(Pending(item, future))
        return future

    def _settle(self, settled: Sequence[tuple[Pending, Outcome]]) -> None:
        """On the event loop: remember what was committed, wake who waits."""
        fresh = []
        for pending, outcome in settled:
            if not pending.future.done():  # it is when its waiter gave up
                _resolve(pending.future, outcome)
            if isinstance(pending.item, DeadLetterRow) or isinstance(outcome, LedgerUnavailable):
                continue
            self._recent.add(pending.item)
            if outcome:
                fresh.append(pending.item.recording)
        if fresh and self.listener is not None:
            self.listener.committed(fresh)


class _Recent:
    """Events of which it is known that they are on disk: the newest ``RECENT`` at least, twice as many at most."""

    def __init__(self) -> None:
        self._young: dict[str, tuple[str, ...]] = {}  # event id -> services
        self._old: dict[str, tuple[str, ...]] = {}

    def holds(self, item: IdentifiedRecording) -> bool:
        """Whether the event is on disk with all services of this recording."""
        services = self._young.get(item.identity) or self._old.get(item.identity)
        wanted = item.recording.services
        return services is not None and (services == wanted or set(services).issuperset(wanted))

    def add(self, item: IdentifiedRecording) -> None:
        """Remember a committed recording."""
        if len(self._young) >= RECENT:
            self._old, self._young = self._young, {}
        self._young[item.identity] = item.recording.services


def _resolve(future: asyncio.Future[bool], outcome: Outcome) -> None:
    if isinstance(outcome, LedgerUnavailable):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
