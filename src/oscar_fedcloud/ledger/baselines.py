# SPDX-License-Identifier: Apache-2.0
"""What is known, and what needs no run any more: baselines, and identities of history that was removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, delete, select

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import run_id
from oscar_fedcloud.ledger.database.dialects import insert_new, rows_at
from oscar_fedcloud.ledger.database.tables import events, runs, seen
from oscar_fedcloud.ledger.values import cells
from oscar_fedcloud.ledger.values.rows import PLACE, key_bytes, key_text, row_id

T = TypeVar("T")
CHUNK = 500  # rows per statement


class IgnoredRevision(NamedTuple):
    """A revision that is seen for some service."""

    row: str
    event_id: str
    key: str
    noted: float


def known(connection: Connection, found: Iterable[StorageEvent]) -> set[str]:
    """Ids of those events that are recorded, or seen for some service."""
    ids = {row_id(event) for event in found}
    there = present(connection, events.c.id, ids) | present(connection, seen.c.id, ids)
    result = {name[PLACE:] for name in there}
    for places in chunks({name[:PLACE] for name in ids - there}, CHUNK):
        result.update(connection.scalars(rows_at(connection.dialect, runs, places, ["event_id"])))
    return result & {name[PLACE:] for name in ids}


def known_for(connection: Connection, service: str, found: Iterable[StorageEvent]) -> set[str]:
    """Run ids of the service for those events that have a run, or shall never have one."""
    names = {row_id(event): run_id(service, event) for event in found}
    barred = present(connection, seen.c.id, names, seen.c.service == service)
    return present(connection, runs.c.id, names.values()) | {names[name] for name in barred}


def mark(connection: Connection, service: str, found: Iterable[StorageEvent], now: float) -> int:
    """Note that these revisions shall never run for the service; how many are new."""
    rows = {row_id(event): event for event in found}
    fresh = rows.keys() - present(connection, seen.c.id, rows, seen.c.service == service)
    insert_seen(connection, [_values(name, service, rows[name], now) for name in sorted(fresh)])
    return len(fresh)


def page(connection: Connection, service: str, provider: str, bucket: str, after: str) -> list[IgnoredRevision]:
    """Some of what is seen for a service in a bucket, in the order of the rows, behind the row ``after``."""
    scope = [seen.c.service == service, seen.c.provider == provider, seen.c.bucket == bucket]
    query = select(seen.c.id, seen.c.key, seen.c.noted).where(*scope, seen.c.id > after)
    rows = connection.execute(query.order_by(seen.c.id).limit(CHUNK))
    return [IgnoredRevision(row.id, row.id[PLACE:], key_text(row.key), cells.moment(row.noted)) for row in rows]


def forget(connection: Connection, service: str, ids: Sequence[str]) -> int:
    """Remove what was seen for a service; ids of rows."""
    return connection.execute(delete(seen).where(seen.c.id.in_(ids), seen.c.service == service)).rowcount


def present(
    connection: Connection, column: Column[str], values: Iterable[str], *conditions: ColumnElement[bool]
) -> set[str]:
    """Those of the values that the column holds."""
    found: set[str] = set()
    for chunk in chunks(values, CHUNK):
        found.update(connection.scalars(select(column).where(column.in_(chunk), *conditions)))
    return found


def insert_seen(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of ``seen``; those that are there stay as they are."""
    if rows:
        connection.execute(insert_new(connection.dialect, seen), rows)


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` values."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _values(name: str, service: str, event: StorageEvent, now: float) -> dict[str, Any]:
    return {
        "id": name,
        "service": service,
        "provider": event.provider,
        "bucket": event.bucket,
        "key": key_bytes(event.key),
        "noted": now,
    }
