# SPDX-License-Identifier: Apache-2.0
"""All data about the revisions of a key, to explain why a file did or did not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from oscar_fedcloud.domain.events import EventOutcome
from oscar_fedcloud.domain.identity import place_id
from oscar_fedcloud.ledger.database.tables import events, runs, seen, small_record
from oscar_fedcloud.ledger.history import at_place
from oscar_fedcloud.ledger.records import Trace
from oscar_fedcloud.ledger.values import cells
from oscar_fedcloud.ledger.values.rows import PLACE, AnyRow, key_bytes, shown_event, shown_run

_DIGITS = 20  # of an order
_AT_ONCE = 500  # rows per statement
Rank = tuple[int, str]  # order and event id


class _Revision(NamedTuple):
    """A revision of a key with the ids of its runs."""

    event_id: str
    order: int
    runs: str | None  # separated by commas


def explain(connection: Connection, bucket: str, key: str, limit: int = 0, after: Rank | None = None) -> list[Trace]:
    """Return the revisions of a key, newest first, at most ``limit`` of them (0 means all) after a rank.

    The database selects the revisions, so that only the returned ones are transferred.
    """
    found = [_Revision(*row) for row in connection.execute(_revisions(bucket, key, limit, after))]
    place = place_id(bucket, key)
    orders = {each.event_id: each.order for each in found}
    names = [place + each.event_id for each in found]
    traces: dict[str, Trace] = {}
    for row in _rows(connection, events, names):
        traces[row.id[PLACE:]] = _trace(row.id[PLACE:], orders, row, _outcome(row), row.received)
    for row in _rows(connection, runs, [name for each in found for name in (each.runs or "").split(",") if name]):
        if row.event_id not in traces or not traces[row.event_id]["runs"]:
            traces[row.event_id] = _trace(row.event_id, orders, row, EventOutcome.MATCHED, row.created)
        traces[row.event_id]["runs"].append(shown_run(connection, row))
    for row in _rows(connection, seen, names):
        traces.setdefault(row.id[PLACE:], _trace(row.id[PLACE:], orders))["seen"].append(row.service)
    return sorted(traces.values(), key=_rank, reverse=True)


def trace_cursor(trace: Trace) -> str:
    """Return the cursor after which a list of traces continues."""
    order, name = _rank(trace)
    return f"{order}~{name}"


def rank_of(cursor: str) -> Rank | None:
    """Return the rank in a cursor, or None for "". Raises ValueError if the cursor is not valid."""
    if not cursor:
        return None
    order, tilde, name = cursor.partition("~")
    if not tilde or not order.isascii() or not order.isdigit() or len(order) > _DIGITS:
        raise ValueError(f"{cursor!r} is not a cursor")
    return int(order), name


def _rank(trace: Trace) -> Rank:
    return (trace["order"], trace["event_id"])


def _revisions(bucket: str, key: str, limit: int, after: Rank | None) -> Select[Any]:
    """Return the SELECT for the revisions of a key, newest first.

    If a revision has several orders, the latest counts.
    """

    def part(table: Table, name: ColumnElement[str], order: ColumnElement[int], run: ColumnElement[Any]) -> Select[Any]:
        here = at_place(table, place_id(bucket, key)), table.c.bucket == bucket, table.c.key == key_bytes(key)
        return select(name.label("name"), order.label("rank"), run.label("run")).where(*here)

    none = cast(null(), Text)
    parts = union_all(
        part(events, func.substr(events.c.id, PLACE + 1), _order(events), none),
        part(runs, runs.c.event_id, _order(runs), runs.c.id),
        part(seen, func.substr(seen.c.id, PLACE + 1), literal(0), none),
    ).subquery()
    order = func.max(parts.c.rank)
    query = select(parts.c.name, order, func.aggregate_strings(parts.c.run, ",")).group_by(parts.c.name)
    if after is not None:
        query = query.having(or_(order < after[0], and_(order == after[0], parts.c.name < after[1])))
    query = query.order_by(order.desc(), parts.c.name.desc())
    return query.limit(limit) if limit else query


def _order(table: Table) -> ColumnElement[int]:
    """Return the order of a row's revision, 0 if it is damaged."""
    found = cast(table.c.event_order, BigInteger)
    return case((found < 0, 0), else_=found)


def _rows(connection: Connection, table: Table, ids: Sequence[str]) -> Iterator[AnyRow]:
    for start in range(0, len(ids), _AT_ONCE):
        columns = [small_record(table) if column.name == "record" else column for column in table.c]
        yield from connection.execute(select(*columns).where(table.c.id.in_(ids[start : start + _AT_ONCE])))


def _trace(
    identity: str,
    orders: Mapping[str, int],
    row: AnyRow | None = None,
    outcome: EventOutcome | None = None,
    received: float | None = None,
) -> Trace:
    event, detail = (None, "") if row is None else shown_event(row)
    return Trace(
        event_id=identity,
        order=orders[identity],
        event=event,
        outcome=outcome,
        detail=detail,
        received=None if received is None else cells.moment(received),
        runs=[],
        seen=[],
    )


def _outcome(row: AnyRow) -> EventOutcome | None:
    try:
        return cells.choice("outcome", row.outcome, EventOutcome)
    except cells.BadRow:
        return None
