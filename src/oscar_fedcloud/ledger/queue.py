# SPDX-License-Identifier: Apache-2.0
"""The queues: services with queued runs, and which of their runs are due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_

from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.ledger.database.dialects import rows_at
from oscar_fedcloud.ledger.database.tables import LATER, QUEUED, RUN_COLUMNS, runs
from oscar_fedcloud.ledger.records import Candidate
from oscar_fedcloud.ledger.values import cells
from oscar_fedcloud.ledger.values.cells import BadRow
from oscar_fedcloud.ledger.values.damage import note
from oscar_fedcloud.ledger.values.rows import PLACE, AnyRow, key_bytes, run_of

Rank = tuple[int, str]  # order and id: the larger of two revisions of an object is the newer one
Object = tuple[str, str, str, bytes]  # service, provider, bucket and key

_SMALLEST_PAGE, _LARGEST_PAGE = 20, 500  # rows per read
_CLOCK_DIFFERENCE = 300.0  # s by which a store's clock may be ahead of the local clock
_GAVE_WAY = [RunState.CANCELLED.value, RunState.SUPERSEDED.value]
_ALIVE = [RunState.QUEUED.value, RunState.RUNNING.value]


def services_waiting(connection: Connection) -> dict[str, float]:
    """Return the services with queued runs, and when the first run of each may start (seconds since the epoch)."""
    query = select(runs.c.service, func.min(runs.c.not_before)).where(QUEUED).group_by(runs.c.service)
    return {row[0]: cells.moment(row[1]) for row in connection.execute(query) if isinstance(row[0], str)}


def next_due(connection: Connection, service: str, now: float, longest: float) -> float | None:
    """Return when the service's first run that waits for a later time may start, or None."""
    later = and_(runs.c.not_before > now, runs.c.not_before <= now + longest)
    query = select(func.min(runs.c.not_before)).where(runs.c.service == service, LATER, later)
    moment: float | None = connection.scalar(query)
    return moment


def due(connection: Connection, service: str, now: float, limit: int, longest: float) -> list[Candidate]:
    """Return queued runs of a service that may start now or are superseded, oldest revision first.

    Runs that only wait for another run of their object are left out, so that they do not use up ``limit``.

    Args:
        longest: longest possible wait in seconds; a run with a longer one was written with a wrong clock, and is due.
    """
    found: list[Candidate] = []
    ready = or_(runs.c.not_before <= now, runs.c.not_before > now + longest)
    for rows in _queued(connection, service, ready, min(max(limit, _SMALLEST_PAGE), _LARGEST_PAGE)):
        page = list(_sound(connection, rows))
        standings = _standings(_rivals(connection, page), now)
        # The two reads see different states: a run cancelled between them is no longer a candidate.
        candidates = [
            _candidate(item, standings[_place(item.run)], now) for item in page if _place(item.run) in standings
        ]
        found += [item for item in candidates if item.newer or not item.busy]
        if len(found) >= limit:
            break
    return found[:limit]


@dataclass(frozen=True, slots=True)
class _Queued:
    """A queued run.

    Attributes:
        asked: whether it was requested by a user.
        seq: its number in the order of arrival.
    """

    run: Run
    asked: bool
    seq: int


@dataclass(slots=True)
class _Standing:
    """The state of all runs of one object, as far as it affects each of them."""

    running: bool = False
    newest: Rank = (-1, "")  # of those that have not been superseded
    arrival: int = 0  # arrival number of the newest
    first_asked: Rank | None = None  # the oldest due one that nothing supersedes


def _queued(connection: Connection, service: str, ready: ColumnElement[bool], size: int) -> Iterator[list[AnyRow]]:
    """Yield pages of the due runs of a service, oldest revision first."""
    place = tuple_(runs.c.event_order, runs.c.seq)
    query = select(*RUN_COLUMNS).where(runs.c.service == service, QUEUED, ready)
    query = query.order_by(runs.c.event_order, runs.c.seq).limit(size)
    rows = list(connection.execute(query))
    while rows:
        yield rows
        if len(rows) < size:
            return
        rows = list(connection.execute(query.where(place > (rows[-1].event_order, rows[-1].seq))))


def _sound(connection: Connection, rows: Iterable[AnyRow]) -> Iterator[_Queued]:
    """Yield the runs in these rows. Damaged rows are recorded and skipped."""
    for row in rows:
        try:
            yield _Queued(run_of(row), bool(row.asked), row.seq)
        except BadRow as error:
            note(connection, f"run {cells.text(row.id)}", str(error), row.seq)


def _rivals(connection: Connection, page: Sequence[_Queued]) -> Iterable[AnyRow]:
    """Return the runs that affect those of the page: for each object the newest, the running, and the requested ones.

    The database selects them, so that a key with very many revisions is scanned there only.
    """
    if not page:
        return []
    lowest = min(item.run.event.order for item in page)
    matters = or_(runs.c.state.in_(_ALIVE), and_(runs.c.event_order >= lowest, runs.c.state.not_in(_GAVE_WAY)))
    if connection.dialect.name == "sqlite":  # SQLite accepts any type in a column; a damaged row is ignored
        matters = and_(matters, func.typeof(runs.c.event_order) == "integer")
    names = ("id", "service", "provider", "bucket", "key", "event_order", "state", "asked", "not_before", "seq")
    places = sorted({item.run.id[:PLACE] for item in page})
    all_of_them = rows_at(connection.dialect, runs, places, names, matters).subquery()
    columns = all_of_them.c
    rank = func.row_number().over(
        partition_by=(columns.service, columns.provider, columns.bucket, columns.key),
        order_by=(columns.event_order.desc(), columns.id.desc()),
    )
    ranked = select(all_of_them, rank.label("rank")).subquery()
    running = ranked.c.state == RunState.RUNNING.value
    return connection.execute(select(ranked).where(or_(ranked.c.rank == 1, running, ranked.c.asked != "")))


def _standings(rivals: Iterable[AnyRow], now: float) -> dict[Object, _Standing]:
    standings: dict[Object, _Standing] = {}
    for row in rivals:
        standing = standings.setdefault((row.service, row.provider, row.bucket, cells.data(row.key)), _Standing())
        rank = (row.event_order, row.id)
        if rank > standing.newest:
            standing.newest, standing.arrival = rank, row.seq
        standing.running |= row.state == RunState.RUNNING
        if row.asked and row.state == RunState.QUEUED and cells.moment(row.not_before) <= now:
            standing.first_asked = min(standing.first_asked or rank, rank)
    return standings


def _candidate(item: _Queued, standing: _Standing, now: float) -> Candidate:
    rank = (item.run.event.order, item.run.id)
    newer = not item.asked and standing.newest > rank
    busy = standing.running or (standing.first_asked is not None and standing.first_asked < rank)
    # A newer revision arrives later and has no future time. Otherwise a clock was wrong or an event came late.
    order, _ = standing.newest
    doubtful = newer and (standing.arrival < item.seq or order > (now + _CLOCK_DIFFERENCE) * 1e9)
    return Candidate(item.run, newer, busy, doubtful, order)


def _place(run: Run) -> Object:
    return run.service, run.event.provider, run.event.bucket, key_bytes(run.event.key)
