# SPDX-License-Identifier: Apache-2.0
"""The queues: which services have work, and which of their runs are due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_

from oscar_fedcloud.ledger import cells
from oscar_fedcloud.ledger.cells import BadRow
from oscar_fedcloud.ledger.damage import note
from oscar_fedcloud.ledger.dialects import rows_at
from oscar_fedcloud.ledger.records import Candidate
from oscar_fedcloud.ledger.rows import PLACE, AnyRow, key_bytes, run_of
from oscar_fedcloud.ledger.tables import LATER, QUEUED, RUN_COLUMNS, runs
from oscar_fedcloud.model import Run, RunState

Rank = tuple[int, str]  # order and id: of two revisions of an object, the larger one is newer
Object = tuple[str, str, str, bytes]  # service, provider, bucket and key

_SMALLEST_PAGE, _LARGEST_PAGE = 20, 500  # rows read at once
_CLOCK_DIFFERENCE = 300.0  # s by which a store's clock may be ahead of ours
_GAVE_WAY = [RunState.CANCELLED.value, RunState.SUPERSEDED.value]
_ALIVE = [RunState.QUEUED.value, RunState.RUNNING.value]


def services_waiting(connection: Connection) -> dict[str, float]:
    """Services with queued runs, and when the first of these may start (seconds since the epoch)."""
    query = select(runs.c.service, func.min(runs.c.not_before)).where(QUEUED).group_by(runs.c.service)
    return {row[0]: cells.moment(row[1]) for row in connection.execute(query) if isinstance(row[0], str)}


def next_due(connection: Connection, service: str, now: float, longest: float) -> float | None:
    """When the first of the service's runs that wait for a later time may start; None if none does."""
    later = and_(runs.c.not_before > now, runs.c.not_before <= now + longest)
    query = select(func.min(runs.c.not_before)).where(runs.c.service == service, LATER, later)
    moment: float | None = connection.scalar(query)
    return moment


def due(connection: Connection, service: str, now: float, limit: int, longest: float) -> list[Candidate]:
    """Queued runs of a service that may start now or are superseded, oldest revision first.

    Runs that only wait for another run of their object are left out, so that they do not use up ``limit``. longest: no
    run waits longer than that (s); one that seems to was written when the clock was wrong, and is due.
    """
    found: list[Candidate] = []
    ready = or_(runs.c.not_before <= now, runs.c.not_before > now + longest)
    for rows in _queued(connection, service, ready, min(max(limit, _SMALLEST_PAGE), _LARGEST_PAGE)):
        page = list(_sound(connection, rows))
        standings = _standings(_rivals(connection, page), now)
        # The two reads see the ledger at two moments: what was cancelled between them is no candidate any more.
        candidates = [
            _candidate(run, asked, standings[_place(run)], now) for run, asked in page if _place(run) in standings
        ]
        found += [item for item in candidates if item.newer or not item.busy]
        if len(found) >= limit:
            break
    return found[:limit]


@dataclass(slots=True)
class _Standing:
    """What the runs of one object mean for each of them."""

    running: bool = False
    newest: Rank = (-1, "")  # of those that did not give way
    arrivals: dict[str, int] = field(default_factory=dict)  # run -> its number in the order of arrival
    first_asked: Rank | None = None  # the oldest that is due and that nothing supersedes


def _queued(connection: Connection, service: str, ready: ColumnElement[bool], size: int) -> Iterator[list[AnyRow]]:
    """Pages of the queued runs of a service that are due, oldest revision first."""
    place = tuple_(runs.c.event_order, runs.c.seq)
    query = select(*RUN_COLUMNS).where(runs.c.service == service, QUEUED, ready)
    query = query.order_by(runs.c.event_order, runs.c.seq).limit(size)
    rows = list(connection.execute(query))
    while rows:
        yield rows
        if len(rows) < size:
            return
        rows = list(connection.execute(query.where(place > (rows[-1].event_order, rows[-1].seq))))


def _sound(connection: Connection, rows: Iterable[AnyRow]) -> Iterator[tuple[Run, bool]]:
    """The runs in these rows, and whether a person asked for them. Damaged rows are noted and left out."""
    for row in rows:
        try:
            yield run_of(row), bool(row.asked)
        except BadRow as error:
            note(connection, f"run {cells.text(row.id)}", str(error), row.seq)


def _rivals(connection: Connection, page: Sequence[tuple[Run, bool]]) -> Iterable[AnyRow]:
    """All runs that have a say about those of the page: of the same objects (and a few more), alive or newer."""
    if not page:
        return []
    lowest = min(run.event.order for run, _ in page)
    matters = or_(runs.c.state.in_(_ALIVE), and_(runs.c.event_order >= lowest, runs.c.state.not_in(_GAVE_WAY)))
    names = ("id", "service", "provider", "bucket", "key", "event_order", "state", "asked", "not_before", "seq")
    places = sorted({run.id[:PLACE] for run, _ in page})
    return connection.execute(rows_at(connection.dialect, runs, places, names, matters))


def _standings(rivals: Iterable[AnyRow], now: float) -> dict[Object, _Standing]:
    standings: dict[Object, _Standing] = {}
    for row in rivals:
        if not isinstance(row.event_order, int):  # a damaged row has no say
            continue
        standing = standings.setdefault((row.service, row.provider, row.bucket, cells.data(row.key)), _Standing())
        rank = (row.event_order, row.id)
        standing.newest = max(standing.newest, rank)
        standing.arrivals[row.id] = row.seq
        standing.running |= row.state == RunState.RUNNING
        if row.asked and row.state == RunState.QUEUED and cells.moment(row.not_before) <= now:
            standing.first_asked = min(standing.first_asked or rank, rank)
    return standings


def _candidate(run: Run, asked: bool, standing: _Standing, now: float) -> Candidate:
    rank = (run.event.order, run.id)
    newer = not asked and standing.newest > rank
    busy = standing.running or (standing.first_asked is not None and standing.first_asked < rank)
    # What is newer arrives later and is not of the future. Else a clock was wrong, or an event came late.
    order, name = standing.newest
    came_before = standing.arrivals.get(name, 0) < standing.arrivals.get(run.id, 0)
    doubtful = newer and (came_before or order > (now + _CLOCK_DIFFERENCE) * 1e9)
    return Candidate(run, newer, busy, doubtful, order)


def _place(run: Run) -> Object:
    return run.service, run.event.provider, run.event.bucket, key_bytes(run.event.key)
