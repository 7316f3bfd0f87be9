# SPDX-License-Identifier: Apache-2.0
"""The writer thread (group commit).

It takes all queued events in one transaction, without waiting for more, then each mutation in a transaction of its own.
The next batch accumulates while a commit waits for the disk.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, delete, insert

from oscar_fedcloud.ledger.database.connection import WritingConnection
from oscar_fedcloud.ledger.database.tables import dead_letters
from oscar_fedcloud.ledger.database.troubles import LedgerTrouble
from oscar_fedcloud.ledger.errors import BadValue, LedgerError, LedgerUnavailable, cause_of, is_row_error
from oscar_fedcloud.ledger.recording.recorder import Item, Recorder

T = TypeVar("T")
MAX_BATCH = 1000
_SAMPLE = 50  # events of a failed batch that are retried
_PROBE = 64 * 1024  # bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """An item of the next batch, and the future (of the calling event loop) to complete when it is committed."""

    item: Item
    future: asyncio.Future[bool]


@dataclass(frozen=True, slots=True, eq=False)
class Mutation:
    """A transaction to run for a waiting thread."""

    work: Callable[[Connection], Any]
    future: concurrent.futures.Future[Any] = field(default_factory=concurrent.futures.Future)


Outcome = bool | LedgerUnavailable
Settle = Callable[[Sequence[tuple[Pending, Outcome]]], None]


@dataclass(slots=True)
class Counters:
    """Counters since the writer started."""

    committed: int = 0  # recordings with something new
    duplicates: int = 0  # recordings already in the tables
    batches: int = 0
    writes: int = 0  # transactions with a change
    failed_batches: int = 0
    failed_events: int = 0
    failed_writes: int = 0


class Writer:
    """Owns the writing connection. ``settle`` is called on the event loop, once for each committed or failed batch."""

    def __init__(self, engine: Engine, settle: Settle, guard: Callable[[], None] | None = None) -> None:
        self.counters = Counters()
        self._settle = settle
        self._recorder = Recorder(engine.dialect)
        self._connection = WritingConnection(engine, guard)
        self._refused: list[Item] = []  # of the last batch, if it failed
        self._queue: queue.SimpleQueue[Pending | Mutation | None] = queue.SimpleQueue()
        self._gate = threading.Lock()  # nothing may be queued after the None of ``close``
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def put(self, entry: Pending | Mutation) -> None:
        """Queue an entry. Raises LedgerUnavailable if closed."""
        with self._gate:
            if self._closed:
                raise LedgerUnavailable("the ledger is closed")
            self._queue.put(entry)

    def call(self, work: Callable[[Connection], T]) -> T:
        """Run a transaction on the writer thread and wait for it."""
        mutation = Mutation(work)
        self.put(mutation)
        result: T = mutation.future.result()
        return result

    def check(self) -> None:
        """Raise LedgerUnavailable if the last write failed and the database still rejects such writes."""
        if self._refused:
            self.call(self._rehearse)
            self._refused = []
        elif self._connection.failed:
            self.call(_probe)

    def _rehearse(self, connection: Connection) -> None:
        """Store the refused items and roll back, since the senders were told that they are not stored."""
        with connection.begin_nested() as trial:
            try:
                self._recorder.store(connection, self._refused)
            except Exception as error:
                if not is_row_error(error):
                    raise
            trial.rollback()
        _probe(connection)

    def close(self) -> None:
        """Write all queued entries, then stop."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            taken = self._take()
            going = taken[-1] is not None
            batch = [entry for entry in taken if isinstance(entry, Pending)]
            if batch:
                self._write_batch(batch)
            for entry in taken:
                if isinstance(entry, Mutation):
                    self._write_mutation(entry)
        self._connection.close()

    def _take(self) -> list[Pending | Mutation | None]:
        """Wait for one entry, then take all others in the queue."""
        taken = [self._queue.get()]
        try:
            while len(taken) < MAX_BATCH:
                taken.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return taken

    def _write_batch(self, batch: Sequence[Pending]) -> None:
        outcomes: Sequence[Outcome]
        try:
            outcomes = self._store([pending.item for pending in batch])
            self._refused = []
        except Exception as error:  # whatever it is, waiting callers must get a result
            _log.error("%d events could not be stored: %s", len(batch), error)
            self.counters.failed_batches += 1
            self.counters.failed_events += len(batch)
            self._refused = [pending.item for pending in batch[:_SAMPLE]]
            kind = error.kind if isinstance(error, LedgerUnavailable) else LedgerTrouble.AWAY
            outcomes = [LedgerUnavailable(f"the event could not be stored: {error}", kind) for _ in batch]
        self._deliver(batch, outcomes)

    def _store(self, items: Sequence[Item]) -> list[bool]:
        """Store a batch, whole or row by row. Safe to repeat: ids identify existing rows."""
        try:
            results = self._connection.run(lambda connection: self._recorder.store(connection, items), repeatable=True)
        except Exception as error:
            if not is_row_error(error):
                raise
            _log.warning("a batch of %d events is stored singly: %s", len(items), error)
            results = self._connection.run(
                lambda connection: self._recorder.store_singly(connection, items), repeatable=True
            )
        fresh = sum(results)
        self.counters.batches += 1
        self.counters.committed += fresh
        self.counters.duplicates += len(results) - fresh
        self.counters.writes += fresh > 0
        return results

    def _deliver(self, batch: Sequence[Pending], outcomes: Sequence[Outcome]) -> None:
        """Wake each event loop once; the daemon has one."""
        settled: dict[asyncio.AbstractEventLoop, list[tuple[Pending, Outcome]]] = {}
        for pending, outcome in zip(batch, outcomes, strict=True):
            settled.setdefault(pending.future.get_loop(), []).append((pending, outcome))
        for loop, pairs in settled.items():
            try:
                loop.call_soon_threadsafe(self._settle, pairs)
            except RuntimeError:
                _log.warning("%d answers came after their event loop was closed", len(pairs))

    def _write_mutation(self, mutation: Mutation) -> None:
        try:
            result = self._connection.run(mutation.work)
        except Exception as error:  # raised in the waiting caller
            self.counters.failed_writes += isinstance(error, LedgerUnavailable)
            mutation.future.set_exception(_told(error))
            return
        self.counters.writes += bool(result)
        mutation.future.set_result(result)


def _told(error: Exception) -> Exception:
    """Return the error for the caller: one of the ledger's own types if the values are the cause."""
    if isinstance(error, LedgerError) or not is_row_error(error):
        return error
    told = BadValue(f"the ledger cannot store that: {cause_of(error)}")
    told.__cause__ = error
    return told


def _probe(connection: Connection) -> None:
    """Write some pages and roll back, to see whether the disk accepts them."""
    values = {"source": "", "body": bytes(_PROBE), "reason": "", "received": 0.0}
    made = connection.scalar(insert(dead_letters).values(values).returning(dead_letters.c.id))
    connection.execute(delete(dead_letters).where(dead_letters.c.id == made))
