# SPDX-License-Identifier: Apache-2.0
"""The ledger: what was asked for, what was tried and how it ended, durably."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from oscar_fedcloud.domain.events import Recording, StorageEvent
from oscar_fedcloud.domain.runs import Attempt, Completion, Run, RunState, StoredObject
from oscar_fedcloud.ledger import baselines as seen
from oscar_fedcloud.ledger import callbacks, chain, history, outputs, requests, runs, traces
from oscar_fedcloud.ledger import dead_letters as letters
from oscar_fedcloud.ledger import queue as waiting
from oscar_fedcloud.ledger.database import identity
from oscar_fedcloud.ledger.database.engines import is_sqlite, reader_engine, shut, writer_engine
from oscar_fedcloud.ledger.database.identity import LedgerIdentity
from oscar_fedcloud.ledger.database.integrity import check_file, same_file
from oscar_fedcloud.ledger.database.schema import ensure_schema
from oscar_fedcloud.ledger.database.troubles import LedgerTrouble, unavailable
from oscar_fedcloud.ledger.errors import BadValue, LedgerUnavailable, cause_of, is_row_error
from oscar_fedcloud.ledger.recording.intake import CommitListener, Intake
from oscar_fedcloud.ledger.records import Callback, Candidate, Chain, DeadLetter, RunTransition, Trace
from oscar_fedcloud.ledger.requests import Claim
from oscar_fedcloud.ledger.values import bounds
from oscar_fedcloud.ledger.values.cells import BadRow
from oscar_fedcloud.ledger.values.damage import Damage, watched

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = 500  # rows removed by one transaction, so that events never wait long


class Ledger:
    """Events, runs, attempts, seen revisions, dead letters and callbacks in SQLite or PostgreSQL.

    ``record`` and ``record_dead_letter`` belong to an event loop; all else blocks for the database and may be called
    from any thread. Every method may raise LedgerUnavailable. Times are seconds since the epoch.
    """

    def __init__(self, writer: Engine, reader: Engine) -> None:
        self._damage = Damage()
        self._writing = watched(writer, self._damage)
        self._reading = watched(reader, self._damage)
        self._guard = same_file(writer.url) if writer.dialect.name == "sqlite" else None
        if self._guard is not None:
            self._guard()
        self._intake = Intake(self._writing, self._guard)
        self._unread: LedgerUnavailable | None = None  # the last read failed by the fault of the disk

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open ``sqlite:////path/ledger.db`` or ``postgresql+psycopg://…``, bringing its schema up to date first.

        A SQLite file is checked first, for some seconds at most. Raises LedgerUnavailable, LedgerError.
        """
        writer = writer_engine(url)
        if is_sqlite(url):
            check_file(writer.url)
        try:
            ensure_schema(writer)
        except SQLAlchemyError as error:
            writer.dispose()
            told = unavailable(error, writer.url)
            raise LedgerUnavailable(f"the ledger cannot be opened: {told}", told.kind) from error
        return cls(writer, reader_engine(url))

    def identity(self) -> LedgerIdentity:
        """Return the ledger's own name, which it gets with the first question."""
        return self._read(identity.get) or self._write(identity.make)

    def accept(self) -> None:
        """Note that this is the ledger of its site from now on."""
        self._write(identity.accept, time.time())

    def close(self) -> None:
        """Commit what is queued and disconnect."""
        self._intake.writer.close()
        self._writing.dispose()
        shut(self._reading)

    # Events

    @property
    def listener(self) -> CommitListener | None:
        """Is informed of what was new in each committed batch."""
        return self._intake.listener

    @listener.setter
    def listener(self, listener: CommitListener | None) -> None:
        self._intake.listener = listener

    async def record(self, recording: Recording) -> bool:
        """Store an event and its runs; returns when they are on disk. False if nothing of it was new.

        An event that the database refuses becomes a dead letter, which counts as stored.
        """
        return await self._intake.record(recording)

    def record_nowait(self, recording: Recording) -> asyncio.Future[bool]:
        """``record`` without a coroutine: the future is done when the event is on disk."""
        return self._intake.record(recording)

    async def record_dead_letter(self, source: str, body: bytes, reason: str) -> None:
        """Store a body that could not be understood, whole."""
        await self._intake.dead_letter(source, body, reason)

    def known(self, provider: str, bucket: str, events: Sequence[StorageEvent]) -> set[str]:
        """Event ids of those events of a bucket that are recorded or seen."""
        return self._read(seen.known, events)

    def known_for(self, service: str, events: Iterable[StorageEvent]) -> set[str]:
        """Run ids of the service for those events that have a run, or never shall (baseline, old history)."""
        return self._read(seen.known_for, service, events)

    def mark_seen(self, service: str, events: Iterable[StorageEvent]) -> int:
        """Note the baseline of a service: these revisions never make a run. Returns how many are new."""
        return self._write(seen.mark, service, list(events), time.time())

    def forget_seen(
        self, service: str, provider: str, bucket: str, keep: Collection[str], before: float, prefix: str = ""
    ) -> int:
        """Forget what was seen of objects that are gone.

        keep: event ids of a complete listing of the bucket under ``prefix``. before: when that listing began; what was
        noted later is kept.
        """
        forgotten, after = 0, ""
        while page := self._read(seen.page, service, provider, bucket, after):
            after = page[-1].row
            old = [item for item in page if item.noted < before and item.key.startswith(prefix)]
            if gone := [item.row for item in old if item.event_id not in keep]:
                forgotten += self._write(seen.forget, service, gone)
        if forgotten:
            self._intake.forget()
        return forgotten

    def explain(self, bucket: str, key: str, limit: int = 0, after: str = "") -> list[Trace]:
        """All that is known of the revisions of a key, newest first: raw material of "why did this file not run".

        limit: of revisions, 0 = all. after: ``trace_cursor`` of the last one before; ValueError if it is none.
        """
        return self._read(traces.explain, bucket, key, limit, traces.rank_of(after))

    # Runs

    def services_waiting(self) -> dict[str, float]:
        """Services with queued runs, and when the first of these may start."""
        return self._read(waiting.services_waiting)

    def due(self, service: str, now: float, limit: int, longest: float = bounds.MAX_WAIT) -> list[Candidate]:
        """Queued runs that may start or are superseded, oldest first; runs that only wait for others are left out.

        longest: a run that would have to wait longer than that (s) was written when the clock was wrong, and is due.
        """
        found = self._read(waiting.due, service, now, limit, longest)
        self._end_stuck()
        return found

    def next_due(self, service: str, now: float, longest: float = bounds.MAX_WAIT) -> float | None:
        """When the first of the service's runs that wait for a time after ``now`` may start; None if none does."""
        return self._read(waiting.next_due, service, now, longest)

    def begin(
        self,
        starts: Sequence[tuple[str, str]],
        superseded: Sequence[str],
        now: float,
        policies: Mapping[str, str] = MappingProxyType({}),
    ) -> list[tuple[Run, Attempt]]:
        """Start runs, given as (run id, Job name), and supersede others, in one transaction.

        policies: by service, the text to keep with its attempts. Runs that are no longer queued are skipped. After
        LedgerUnavailable the begun runs may be in ``running``. A run whose attempt the database refuses ends as failed.
        """
        try:
            return self._write(runs.begin, starts, superseded, now, policies)
        except BadValue:
            return self._write(runs.begin_singly, starts, superseded, now, policies)

    def finish(self, job: str, completion: Completion, verdict: RunTransition) -> Run | None:
        """Record the end of an attempt and what follows for its run. Idempotent: None if it was recorded before.

        What the database refuses of a completion is left out.
        """
        try:
            return self._write(runs.finish, job, completion, verdict, time.time())
        except BadValue as error:
            bare = Completion(job, completion.state, reason=f"its result cannot be recorded: {error}")
            return self._write(runs.finish, job, bare, RunTransition(verdict.state, bare.reason), time.time())

    def reorder(self, run_id: str, order: int) -> bool:
        """Give a queued run another place among the revisions of its object; False if it is not queued."""
        return self._write(runs.reorder, run_id, order)

    def running(self) -> list[tuple[Run, Attempt]]:
        """Runs with an attempt that has not ended, for adoption after a restart.

        Those whose rows are damaged, and those without an attempt, end as failed.
        """
        if self._read(runs.orphans):
            self._write(runs.end_orphans, time.time())
        found = self._read(runs.running)
        self._end_stuck()
        return found

    def record_of(self, run: Run) -> Run:
        """Return the run with its event's record, which lists leave out. Raises BadValue when the row is damaged."""
        try:
            record = self._read(runs.record_of, run.id)
        except BadRow as error:
            raise BadValue(str(error)) from error
        return replace(run, event=replace(run.event, record=record))

    def cancel_queued(self, run_id: str) -> bool:
        """Cancel a run that has not begun; False if it is not queued."""
        return self._write(runs.cancel_queued, run_id, time.time())

    def cancel_service(self, service: str) -> int:
        """Cancel all runs of a service that have not begun; returns how many."""
        return self._write(runs.cancel_service, service, time.time())

    def retry(self, run_id: str, now: float) -> Run:
        """Queue a run again that ended without success, with its failures forgotten. Raises StateError."""
        return self._write(runs.ask_again, run_id, "retry", now)

    def replay(self, run_id: str, now: float) -> Run:
        """Queue an ended run again, even a succeeded one. Raises StateError."""
        return self._write(runs.ask_again, run_id, "replay", now)

    def run(self, run_id: str) -> Run | None:
        """One run, or None."""
        return self._read(runs.get, run_id)

    def attempts(self, run_id: str) -> list[Attempt]:
        """The attempts of a run, first to last."""
        return self._read(runs.attempts_of, run_id)

    def attempt_by_job(self, job: str) -> tuple[Run, Attempt] | None:
        """The attempt with this Job name, and its run."""
        return self._read(runs.attempt_by_job, job)

    # Results

    def outputs(self, run_id: str, attempt: int | None = None, after: int = 0, limit: int = 1000) -> list[StoredObject]:
        """Return what an attempt (None for the last one) wrote, in order, behind the first ``after`` objects."""
        return self._read(outputs.of_run, run_id, attempt, after, limit)

    def written(self, run_id: str, before: int) -> list[StoredObject]:
        """Return what the attempts of a run before that number wrote, each object as it was last written."""
        return self._read(outputs.written, run_id, before)

    def origin(self, run: Run) -> Run | None:
        """Return the run that wrote the input of this one, or None when no recorded run did."""
        return self._read(chain.origin, run)

    def chain(self, run_id: str) -> Chain:
        """Return the runs that led to this one, and those that its results set off; bounded in depth and size."""
        return self._read(chain.chain, run_id)

    # Lists

    def runs(
        self,
        *,
        service: str | None = None,
        states: Collection[RunState] | None = None,
        bucket: str | None = None,
        key: str | None = None,
        since: float | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Run]:
        """Runs, newest first. before: ``cursor_of`` the last run of the page before; ValueError if it is none."""
        conditions = history.listed(service, states, bucket, key, since, before)
        return self._read(history.newest, conditions, limit)

    def counts(self, service: str | None = None) -> dict[str, dict[str, int]]:
        """Number of runs by service and state."""
        return self._read(history.counts, service)

    # Removal of history: identities stay in ``seen``, so that nothing runs again while its object exists

    def prune(self, finished_before: float) -> int:
        """Remove runs that ended before that time, events as old without runs, and keys of requests that are older
        than both that time and all runs. Returns how many runs."""
        removed = self._retire(history.ended_before(finished_before))
        while self._write(history.drop_events, finished_before, CHUNK):
            pass
        unneeded = min(finished_before, self._read(requests.oldest_needed))
        while self._write(requests.drop, unneeded, CHUNK):
            pass
        return removed

    def delete_run(self, run_id: str) -> bool:
        """Remove an ended run; False if there is none."""
        return self._retire(history.is_run(run_id)) > 0

    def delete_runs(self, service: str, states: Collection[RunState] | None = None) -> int:
        """Remove the ended runs of a service (in these states). Returns how many."""
        return self._retire(history.listed(service=service, states=states))

    def named_inputs(self, provider: str, bucket: str, keys: Collection[str]) -> set[str]:
        """Those of the keys that a run has as its input, whatever became of it."""
        return self._read(history.named_inputs, provider, bucket, keys)

    def known_jobs(self, jobs: Collection[str]) -> set[str]:
        """Those of the Jobs that are attempts of a run."""
        return self._read(history.known_jobs, jobs)

    # Requests

    def claim(self, key: str, request: str) -> Claim:
        """Let an Idempotency-Key stand for a request, given by its digest; tells whether it stood for one before."""
        return self._write(requests.claim, key, request, time.time())

    def release(self, key: str, request: str) -> bool:
        """Forget that the key stands for this request, since it was refused."""
        return self._write(requests.release, key, request)

    # Dead letters and callbacks

    def dead_letters(self, limit: int = 100, before: int | None = None) -> list[DeadLetter]:
        """Dead letters, newest first; with ``before``, those older than this id."""
        return self._read(letters.newest, limit, before)

    def dead_letter(self, letter_id: int) -> DeadLetter | None:
        """One dead letter, or None."""
        return self._read(letters.get, letter_id)

    def drop_dead_letter(self, letter_id: int) -> bool:
        """Remove a dead letter; False if there is none."""
        return self._write(letters.drop, letter_id)

    def callbacks_due(
        self, now: float, limit: int, under_way: Collection[int] = (), busy: Collection[str] = ()
    ) -> list[Callback]:
        """Messages to deliver now, the longest waiting first; without those under way, and those to busy URLs."""
        return self._read(callbacks.due, now, limit, under_way, busy)

    def callback_done(self, callback_id: int) -> bool:
        """Remove a delivered (or given up) message; False if it was removed before."""
        return self._write(callbacks.done, callback_id)

    def callback_retry(self, callback_id: int, not_before: float) -> bool:
        """Count a failed delivery; the message waits until ``not_before``."""
        return self._write(callbacks.retry, callback_id, not_before)

    def check(self) -> None:
        """Raise LedgerUnavailable unless the database answers, and takes what it last refused."""
        if self._guard is not None:
            self._guard()
        if self._unread is not None and self._guard is not None:
            check_file(self._writing.url)
        self._intake.writer.check()
        self._read(_ping)
        self._unread = None

    def stats(self) -> dict[str, int]:
        """Counters since the ledger was opened; see ``writer.Counters``, and ``duplicates_memory``."""
        return self._intake.stats() | {"damaged_rows": self._damage.rows}

    # Plumbing

    def _read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with self._reading.connect() as connection:
                return query(connection, *args, **kwargs)
        except (SQLAlchemyError, UnicodeError, OverflowError) as error:
            if is_row_error(error):
                raise BadValue(f"the ledger holds nothing of that kind: {cause_of(error)}") from error
            told = unavailable(error, self._reading.url)
            self._unread = told if told.kind in (LedgerTrouble.DAMAGED, LedgerTrouble.IO) else self._unread
            raise LedgerUnavailable(f"the ledger cannot be read: {told}", told.kind) from error

    def _end_stuck(self) -> None:
        """End the runs that were found damaged, since nothing else would."""
        if stuck := self._damage.take_stuck():
            self._write(runs.fail_stuck, stuck, time.time())

    def _write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._intake.writer.call(lambda connection: work(connection, *args, **kwargs))

    def _retire(self, conditions: Sequence[ColumnElement[bool]]) -> int:
        removed = 0
        while count := self._write(history.retire, conditions, CHUNK, time.time()):
            removed += count
        return removed


def _ping(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT 1")
