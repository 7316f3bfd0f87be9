# SPDX-License-Identifier: Apache-2.0
"""The ledger: the durable record of requests, attempts and results."""

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
from oscar_fedcloud.ledger import baselines, callbacks, chain, history, outputs, requests, runs, traces
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
    """Events, runs, attempts, baselines, dead letters and callbacks in SQLite or PostgreSQL.

    ``record`` and ``record_dead_letter`` must be called on an event loop. All other methods block and may be called
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
        self._unread: LedgerUnavailable | None = None  # the last read failed because of the disk

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open ``sqlite:////path/ledger.db`` or ``postgresql+psycopg://…`` and migrate its schema if necessary.

        A SQLite file is checked first, for a few seconds at most. Raises LedgerUnavailable, LedgerError.
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
        """Return the ledger's identity, which is created on the first call."""
        return self._read(identity.get) or self._write(identity.make)

    def accept(self) -> None:
        """Record that this is the ledger of its site from now on."""
        self._write(identity.accept, time.time())

    def close(self) -> None:
        """Commit queued writes and disconnect."""
        self._intake.writer.close()
        self._writing.dispose()
        shut(self._reading)

    # Events

    @property
    def listener(self) -> CommitListener | None:
        """The listener that is informed of new recordings after each commit."""
        return self._intake.listener

    @listener.setter
    def listener(self, listener: CommitListener | None) -> None:
        self._intake.listener = listener

    async def record(self, recording: Recording) -> bool:
        """Store an event and its runs; return when they are on disk. Return False if nothing was new.

        An event that the database rejects becomes a dead letter, which counts as stored.
        """
        return await self._intake.record(recording)

    def record_nowait(self, recording: Recording) -> asyncio.Future[bool]:
        """Store like ``record``, but without a coroutine: the future completes when the event is on disk."""
        return self._intake.record(recording)

    async def record_dead_letter(self, source: str, body: bytes, reason: str) -> None:
        """Store a whole body that is not valid."""
        await self._intake.dead_letter(source, body, reason)

    def known(self, provider: str, bucket: str, events: Sequence[StorageEvent]) -> set[str]:
        """Return the ids of those events of a bucket that are recorded or ignored."""
        return self._read(baselines.known, events)

    def known_for(self, service: str, events: Iterable[StorageEvent]) -> set[str]:
        """Return the service's run ids for events that have a run, or must never have one (baseline, history)."""
        return self._read(baselines.known_for, service, events)

    def record_baseline(self, service: str, events: Iterable[StorageEvent]) -> int:
        """Record the baseline of a service: these revisions never create a run. Return the number of new ones."""
        return self._write(baselines.add, service, list(events), time.time())

    def prune_baseline(
        self, service: str, provider: str, bucket: str, keep: Collection[str], before: float, prefix: str = ""
    ) -> int:
        """Remove objects that are gone from a service's baseline.

        Args:
            keep: event ids of a complete listing of the bucket under ``prefix``.
            before: when that listing began; later entries are kept.
        """
        forgotten, after = 0, ""
        while page := self._read(baselines.page, service, provider, bucket, after):
            after = page[-1].row
            old = [item for item in page if item.noted < before and item.key.startswith(prefix)]
            if gone := [item.row for item in old if item.event_id not in keep]:
                forgotten += self._write(baselines.remove, service, gone)
        if forgotten:
            self._intake.forget()
        return forgotten

    def explain(self, bucket: str, key: str, limit: int = 0, after: str = "") -> list[Trace]:
        """Return all that is known of the revisions of a key, newest first, to explain why a file did not run.

        Args:
            limit: number of revisions; 0 means all.
            after: ``trace_cursor`` of the last trace of the previous page; ValueError if it is not valid.
        """
        return self._read(traces.explain, bucket, key, limit, traces.rank_of(after))

    # Runs

    def services_waiting(self) -> dict[str, float]:
        """Return the services with queued runs, and when the first run of each may start."""
        return self._read(waiting.services_waiting)

    def due(self, service: str, now: float, limit: int, longest: float = bounds.MAX_WAIT) -> list[Candidate]:
        """Return queued runs that may start or are superseded, oldest first, without runs that only wait for others.

        Args:
            longest: longest possible wait in seconds; a run with a longer one was written with a wrong clock, and is
                due.
        """
        found = self._read(waiting.due, service, now, limit, longest)
        self._end_stuck()
        return found

    def next_due(self, service: str, now: float, longest: float = bounds.MAX_WAIT) -> float | None:
        """Return when the service's first run that waits for a time after ``now`` may start, or None."""
        return self._read(waiting.next_due, service, now, longest)

    def begin(
        self,
        starts: Sequence[tuple[str, str]],
        superseded: Sequence[str],
        now: float,
        policies: Mapping[str, str] = MappingProxyType({}),
    ) -> list[tuple[Run, Attempt]]:
        """Start runs, given as (run id, Job name), and supersede others, in one transaction.

        Runs that are no longer queued are skipped. After LedgerUnavailable the started runs may be in ``running``. A
        run whose attempt the database rejects ends as failed.

        Args:
            policies: the text to store with each attempt, by service.
        """
        try:
            return self._write(runs.begin, starts, superseded, now, policies)
        except BadValue:
            return self._write(runs.begin_singly, starts, superseded, now, policies)

    def finish(self, job: str, completion: Completion, transition: RunTransition) -> Run | None:
        """Record the end of an attempt and the transition of its run. Idempotent: None if it was already recorded.

        Parts of a completion that the database rejects are left out.
        """
        try:
            return self._write(runs.finish, job, completion, transition, time.time())
        except BadValue as error:
            bare = Completion(job, completion.state, reason=f"its result cannot be recorded: {error}")
            return self._write(runs.finish, job, bare, RunTransition(transition.state, bare.reason), time.time())

    def reorder(self, run_id: str, order: int) -> bool:
        """Change the place of a queued run among the revisions of its object; return False if it is not queued."""
        return self._write(runs.reorder, run_id, order)

    def running(self) -> list[tuple[Run, Attempt]]:
        """Return the runs with an attempt that has not ended, for adoption after a restart.

        Runs with damaged rows, and running runs without an attempt, end as failed.
        """
        if self._read(runs.orphans):
            self._write(runs.end_orphans, time.time())
        found = self._read(runs.running)
        self._end_stuck()
        return found

    def record_of(self, run: Run) -> Run:
        """Return the run with its event's record, which lists leave out. Raises BadValue if the row is damaged."""
        try:
            record = self._read(runs.record_of, run.id)
        except BadRow as error:
            raise BadValue(str(error)) from error
        return replace(run, event=replace(run.event, record=record))

    def cancel_queued(self, run_id: str) -> bool:
        """Cancel a queued run; return False if it is not queued."""
        return self._write(runs.cancel_queued, run_id, time.time())

    def cancel_service(self, service: str) -> int:
        """Cancel all queued runs of a service; return the number."""
        return self._write(runs.cancel_service, service, time.time())

    def retry(self, run_id: str, now: float) -> Run:
        """Queue a run that ended without success again and reset its failures. Raises StateError."""
        return self._write(runs.ask_again, run_id, "retry", now)

    def replay(self, run_id: str, now: float) -> Run:
        """Queue an ended run again, even if it succeeded. Raises StateError."""
        return self._write(runs.ask_again, run_id, "replay", now)

    def run(self, run_id: str) -> Run | None:
        """Return one run, or None."""
        return self._read(runs.get, run_id)

    def attempts(self, run_id: str) -> list[Attempt]:
        """Return the attempts of a run, first to last."""
        return self._read(runs.attempts_of, run_id)

    def attempt_by_job(self, job: str) -> tuple[Run, Attempt] | None:
        """Return the attempt with this Job name and its run, or None."""
        return self._read(runs.attempt_by_job, job)

    # Results

    def outputs(self, run_id: str, attempt: int | None = None, after: int = 0, limit: int = 1000) -> list[StoredObject]:
        """Return what an attempt (None for the last one) wrote, in order, skipping the first ``after`` objects."""
        return self._read(outputs.of_run, run_id, attempt, after, limit)

    def written(self, run_id: str, before: int) -> list[StoredObject]:
        """Return what the attempts of a run before that number wrote, each object as last written."""
        return self._read(outputs.written, run_id, before)

    def origin(self, run: Run) -> Run | None:
        """Return the run that wrote the input of this one, or None if no recorded run did."""
        return self._read(chain.origin, run)

    def chain(self, run_id: str) -> Chain:
        """Return the runs that led to this one and those that its results started, limited in depth and size."""
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
        """Return runs, newest first. ``before`` is ``cursor_of`` the last run of the previous page, else ValueError."""
        conditions = history.listed(service, states, bucket, key, since, before)
        return self._read(history.newest, conditions, limit)

    def counts(self, service: str | None = None) -> dict[str, dict[str, int]]:
        """Return the number of runs by service and state."""
        return self._read(history.counts, service)

    # Removal of history: identities are kept in ``seen``, so that nothing runs again while its object exists

    def prune(self, finished_before: float) -> int:
        """Remove old history; return the number of runs.

        Removes runs that ended before that time, events without runs that are as old, and idempotency keys older than
        both that time and all runs.
        """
        removed = self._retire(history.ended_before(finished_before))
        while self._write(history.drop_events, finished_before, CHUNK):
            pass
        unneeded = min(finished_before, self._read(requests.oldest_needed))
        while self._write(requests.drop, unneeded, CHUNK):
            pass
        return removed

    def delete_run(self, run_id: str) -> bool:
        """Remove an ended run; return False if it does not exist."""
        return self._retire(history.is_run(run_id)) > 0

    def delete_runs(self, service: str, states: Collection[RunState] | None = None) -> int:
        """Remove the ended runs of a service (in these states); return the number."""
        return self._retire(history.listed(service=service, states=states))

    def named_inputs(self, provider: str, bucket: str, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are the input of a run in any state."""
        return self._read(history.named_inputs, provider, bucket, keys)

    def known_jobs(self, jobs: Collection[str]) -> set[str]:
        """Return those of the Jobs that are attempts of a run."""
        return self._read(history.known_jobs, jobs)

    # Requests

    def claim(self, key: str, request: str) -> Claim:
        """Assign an Idempotency-Key to a request, given by its digest; return to which request it belongs."""
        return self._write(requests.claim, key, request, time.time())

    def release(self, key: str, request: str) -> bool:
        """Release the key of a request that was refused."""
        return self._write(requests.release, key, request)

    # Dead letters and callbacks

    def dead_letters(self, limit: int = 100, before: int | None = None) -> list[DeadLetter]:
        """Return dead letters, newest first; with ``before``, those older than this id."""
        return self._read(letters.newest, limit, before)

    def dead_letter(self, letter_id: int) -> DeadLetter | None:
        """Return one dead letter, or None."""
        return self._read(letters.get, letter_id)

    def drop_dead_letter(self, letter_id: int) -> bool:
        """Remove a dead letter; return False if it does not exist."""
        return self._write(letters.drop, letter_id)

    def callbacks_due(
        self, now: float, limit: int, under_way: Collection[int] = (), busy: Collection[str] = ()
    ) -> list[Callback]:
        """Return messages to deliver now, oldest first, except those in progress and those to busy URLs."""
        return self._read(callbacks.due, now, limit, under_way, busy)

    def callback_done(self, callback_id: int) -> bool:
        """Remove a message that was delivered or given up; return False if it was already removed."""
        return self._write(callbacks.done, callback_id)

    def callback_retry(self, callback_id: int, not_before: float) -> bool:
        """Count a failed delivery and delay the message until ``not_before``."""
        return self._write(callbacks.retry, callback_id, not_before)

    def check(self) -> None:
        """Raise LedgerUnavailable unless the database responds and accepts what it refused last."""
        if self._guard is not None:
            self._guard()
        if self._unread is not None and self._guard is not None:
            check_file(self._writing.url)
        self._intake.writer.check()
        self._read(_ping)
        self._unread = None

    def stats(self) -> dict[str, int]:
        """Return the counters since the ledger was opened; see ``writer.Counters``, and ``duplicates_memory``."""
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
        """End runs with damaged rows, since nothing else would."""
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
