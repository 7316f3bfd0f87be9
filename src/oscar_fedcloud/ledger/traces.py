# SPDX-License-Identifier: Apache-2.0
"""All that is known of the revisions of a key: why a file did or did not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from oscar_fedcloud.ledger import cells
from oscar_fedcloud.ledger.history import at_place
from oscar_fedcloud.ledger.records import Trace
from oscar_fedcloud.ledger.rows import PLACE, AnyRow, key_bytes, order_of, shown_event, shown_run
from oscar_fedcloud.ledger.tables import events, runs, seen, small_record
from oscar_fedcloud.model import EventOutcome, place_id

_DIGITS = 20  # of an order
_AT_ONCE = 500  # rows looked up by one statement
Rank = tuple[int, str]  # order and event id


def explain(connection: Connection, bucket: str, key: str, limit: int = 0, after: Rank | None = None) -> list[Trace]:
    """What is known of the revisions of a key, newest first, at most ``limit`` of them (0 = all) behind a rank.

    Whole rows are read only for the revisions that are returned.
    """
    found = _revisions(connection, bucket, key)
    ranks = sorted((rank for rank in _ranks(found) if after is None or rank < after), reverse=True)
    wanted = {name for _, name in (ranks[:limit] if limit else ranks)}
    traces: dict[str, Trace] = {}
    for row in _rows(connection, events, found.of_events, wanted):
        traces[row.id[PLACE:]] = _trace(row.id[PLACE:], row, _outcome(row), row.received)
    for row in _rows(connection, runs, found.of_runs, wanted):
        if row.event_id not in traces or not traces[row.event_id]["runs"]:
            traces[row.event_id] = _trace(row.event_id, row, EventOutcome.MATCHED, row.created)
        traces[row.event_id]["runs"].append(shown_run(connection, row))
    for row in _rows(connection, seen, found.of_seen, wanted):
        traces.setdefault(row.id[PLACE:], _trace(row.id[PLACE:]))["seen"].append(row.service)
    return sorted(traces.values(), key=_rank, reverse=True)


def trace_cursor(trace: Trace) -> str:
    """Where a list of traces goes on after this one."""
    order, name = _rank(trace)
    return f"{order}~{name}"


def rank_of(cursor: str) -> Rank | None:
    """The rank behind a cursor, None for "". Raises ValueError when it is no cursor of ours."""
    if not cursor:
        return None
    order, tilde, name = cursor.partition("~")
    if not tilde or not order.isascii() or not order.isdigit() or len(order) > _DIGITS:
        raise ValueError(f"{cursor!r} is not a cursor")
    return int(order), name


def _rank(trace: Trace) -> Rank:
    return (trace["event"].order if trace["event"] else 0, trace["event_id"])


@dataclass(slots=True)
class _Found:
    """The rows of a key: the id of each with its revision and order."""

    of_events: list[tuple[str, str, int]]
    of_runs: list[tuple[str, str, int]]
    of_seen: list[tuple[str, str, int]]


def _revisions(connection: Connection, bucket: str, key: str) -> _Found:
    place = place_id(bucket, key)

    def rows(table: Table, *columns: Any) -> list[Any]:
        here = (at_place(table, place), table.c.bucket == bucket, table.c.key == key_bytes(key))
        return list(connection.execute(select(*columns).where(*here)))

    return _Found(
        [(row.id, row.id[PLACE:], order_of(row)) for row in rows(events, events.c.id, events.c.event_order)],
        [(row.id, row.event_id, order_of(row)) for row in rows(runs, runs.c.id, runs.c.event_id, runs.c.event_order)],
        [(row.id, row.id[PLACE:], 0) for row in rows(seen, seen.c.id)],
    )


def _ranks(found: _Found) -> set[Rank]:
    """The revisions of a key, each with its order."""
    orders: dict[str, int] = {}
    for _, name, order in (*found.of_seen, *found.of_events, *found.of_runs):
        orders[name] = max(order, orders.get(name, 0))
    return {(order, name) for name, order in orders.items()}


def _rows(
    connection: Connection, table: Table, found: Sequence[tuple[str, str, int]], wanted: set[str]
) -> Iterator[AnyRow]:
    ids = sorted({row for row, name, _ in found if name in wanted})
    for start in range(0, len(ids), _AT_ONCE):
        columns = [small_record(table) if column.name == "record" else column for column in table.c]
        yield from connection.execute(select(*columns).where(table.c.id.in_(ids[start : start + _AT_ONCE])))


def _trace(
    identity: str, row: AnyRow | None = None, outcome: EventOutcome | None = None, received: float | None = None
) -> Trace:
    event, detail = (None, "") if row is None else shown_event(row)
    moment = None if received is None else cells.moment(received)
    return Trace(event_id=identity, event=event, outcome=outcome, detail=detail, received=moment, runs=[], seen=[])


def _outcome(row: AnyRow) -> EventOutcome | None:
    try:
        return cells.choice("outcome", row.outcome, EventOutcome)
    except cells.BadRow:
        return None
