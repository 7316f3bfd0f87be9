# SPDX-License-Identifier: Apache-2.0
"""Finds which run wrote the input of another, and the resulting chains of runs.

A run that reads an object is recorded after the run that wrote it, so its row has the larger number. All searches rely
on this: they cannot loop, and each reads a bounded part of an index.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.identity import place_id
from oscar_fedcloud.domain.runs import Run
from oscar_fedcloud.ledger import runs as life
from oscar_fedcloud.ledger.database.dialects import rows_at
from oscar_fedcloud.ledger.database.tables import attempts, outputs, runs
from oscar_fedcloud.ledger.outputs import output_of
from oscar_fedcloud.ledger.records import Chain, Link
from oscar_fedcloud.ledger.values import cells
from oscar_fedcloud.ledger.values.rows import AnyRow, key_bytes

MAX_RUNS = 1000  # of a chain
MAX_DEPTH = 64  # links from the given run to the first or last of its chain
_MAX_OUTPUTS = 10_000  # outputs examined for one chain
_PAGE = 500  # outputs read by one query
_WRITERS = 100  # newest writers of an object that are examined
_SECOND = 1.0
_SLACK = 900.0  # s by which the clocks of the store and of this machine may differ

Object = tuple[str, str, bytes]  # provider, bucket and key


def origin(connection: Connection, run: Run) -> Run | None:
    """Return the run that wrote the input of this one, or None if no recorded run did.

    The run is identified by ETag and size. A recorded ETag is the MD5 of the content. The store has another ETag for an
    object that it encrypts (SSE-KMS); such an object is identified by its size, if it was written during an attempt.
    """
    writers = list(_writers(connection, run))
    same = [row for row in writers if _has_etag(row, run.event) and _distance(row, run) <= _SLACK]
    encrypted = [row for row in writers if row.size is not None and _wrote_meanwhile(row, run.event)]
    found = min(same or encrypted, key=lambda row: _distance(row, run), default=None)
    return None if found is None else life.get(connection, found.run_id)


def chain(connection: Connection, run_id: str) -> Chain:
    """Return the runs that led to a run and those that its results started, oldest first, with their links."""
    run = life.get(connection, run_id)
    if run is None:
        return Chain((), (), True)
    search = _Search(connection, {run.id: run})
    search.back(run)
    search.forth(run)
    ordered = sorted(search.runs.values(), key=lambda item: (item.created, item.id))
    return Chain(tuple(ordered), tuple(search.links), search.complete)


@dataclass(slots=True)
class _Search:
    connection: Connection
    runs: dict[str, Run]
    links: list[Link] = field(default_factory=list)
    outputs: int = 0  # examined so far
    complete: bool = True

    def back(self, run: Run) -> None:
        """Add the run that wrote the input, the run that wrote that run's input, and so on."""
        for _ in range(MAX_DEPTH):
            before = origin(self.connection, run)
            if before is None or before.id in self.runs:
                return
            self._link(before, run)
            self.runs[before.id] = before
            run = before
        self.complete = self.complete and origin(self.connection, run) is None

    def forth(self, start: Run) -> None:
        """Add the runs that read what this run wrote, the runs that read what those wrote, and so on."""
        waiting = deque([(start, 0)])
        while waiting:
            run, depth = waiting.popleft()
            for reader in self._readers(run):
                if depth == MAX_DEPTH or len(self.runs) >= MAX_RUNS:
                    self.complete = False
                    break
                self._link(run, reader)
                self.runs[reader.id] = reader
                waiting.append((reader, depth + 1))

    def _readers(self, run: Run) -> Iterator[Run]:
        seq = self.connection.scalar(select(runs.c.seq).where(runs.c.id == run.id))
        if seq is None:
            return
        for page in self._written(seq):
            for row in _reads(self.connection, page, seq):
                reader = life.get(self.connection, row.id) if row.id not in self.runs else None
                writer = None if reader is None else origin(self.connection, reader)
                if reader is not None and writer is not None and writer.id == run.id:
                    yield reader

    def _written(self, seq: int) -> Iterator[Sequence[AnyRow]]:
        """Yield pages of what a run wrote in all its attempts."""
        query = select(outputs).where(outputs.c.run_seq == seq).order_by(outputs.c.number, outputs.c.position)
        offset = 0
        while page := self.connection.execute(query.offset(offset).limit(_PAGE)).all():
            if self.outputs >= _MAX_OUTPUTS:
                self.complete = False
                return
            self.outputs += len(page)
            offset += len(page)
            yield page

    def _link(self, source: Run, target: Run) -> None:
        event = target.event
        self.links.append(Link(source.id, target.id, event.provider, event.bucket, event.key))


def _writers(connection: Connection, run: Run) -> Iterable[AnyRow]:
    """Return the attempts that wrote the object that the run reads, newest first."""
    event = run.event
    try:
        here = outputs.c.place == place_id(event.bucket, event.key)
    except UnicodeError:
        return []
    seq = select(runs.c.seq).where(runs.c.id == run.id).scalar_subquery()
    writer = runs.alias()
    query = (
        select(writer.c.id.label("run_id"), attempts.c.started, attempts.c.finished, outputs.c.size, outputs.c.etag)
        .select_from(outputs)
        .join(writer, writer.c.seq == outputs.c.run_seq)
        .join(attempts, and_(attempts.c.run_id == writer.c.id, attempts.c.number == outputs.c.number))
        .where(here, outputs.c.run_seq < seq, *_same_object(event))
        .order_by(outputs.c.run_seq.desc(), outputs.c.number.desc())
        .limit(_WRITERS)
    )
    return connection.execute(query)


def _same_object(event: StorageEvent) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions under which a recorded output may be the content of the event."""
    yield outputs.c.provider == event.provider
    yield outputs.c.bucket == event.bucket
    yield outputs.c.key == key_bytes(event.key)
    if event.size is not None:
        yield or_(outputs.c.size.is_(None), outputs.c.size == event.size)


def _has_etag(row: AnyRow, event: StorageEvent) -> bool:
    return not event.etag or row.etag in ("", event.etag)


def _wrote_meanwhile(row: AnyRow, event: StorageEvent) -> bool:
    """Return whether the store's time of the object is within the attempt; both may be in whole seconds."""
    began = cells.moment(row.started)
    ended = cells.moment_or_none(row.finished) or began
    return event.size is not None and began - _SECOND <= event.order / 1e9 <= ended + _SECOND


def _distance(row: AnyRow, run: Run) -> float:
    """Return the seconds between an attempt and the writing of the run's input, by the store's or the local clock."""
    began = cells.moment(row.started)
    ended = cells.moment_or_none(row.finished) or began
    moments = (run.event.order / 1e9, run.created)
    return min(max(0.0, began - moment, moment - ended) for moment in moments)


def _reads(connection: Connection, page: Sequence[AnyRow], seq: int) -> Iterable[AnyRow]:
    """Return the runs that may have read one of these outputs, in the order of recording."""
    written = {_object(row) for row in page}
    places = sorted({place_id(item.bucket, item.key) for item in map(output_of, page)})
    names = ("seq", "id", "provider", "bucket", "key")
    query = rows_at(connection.dialect, runs, places, names, runs.c.seq > seq)
    found = connection.execute(query.order_by(query.selected_columns["seq"]).limit(MAX_RUNS))
    return [row for row in found if _object(row) in written]


def _object(row: AnyRow) -> Object:
    return row.provider, row.bucket, cells.data(row.key)
