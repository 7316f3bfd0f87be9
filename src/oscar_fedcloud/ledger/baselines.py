# SPDX-License-Identifier: Apache-2.0
"""Revisions that are known or need no run: baselines, and identities of removed history."""

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
    """A revision that never runs for some service."""

    row: str
    event_id: str
    key: str
    noted: float


def known(connection: Connection, found: Iterable[StorageEvent]) -> set[str]:
    """Return the ids of those events that are recorded, or ignored for some service."""
    ids = {row_id(event) for event in found}
    there = existing_values(connection, events.c.id, ids) | existing_values(connection, seen.c.id, ids)
    result = {name[PLACE:] for name in there}
    for places in chunks({name[:PLACE] for name in ids - there}, CHUNK):
        result.update(connection.scalars(rows_at(connection.dialect, runs, places, ["event_id"])))
    return result & {name[PLACE:] for name in ids}


def known_for(connection: Connection, service: str, found: Iterable[StorageEvent]) -> set[str]:
    """Return the service's run ids for those events that have a run, or must never have one."""
    names = {row_id(event): run_id(service, event) for event in found}
    barred = existing_values(connection, seen.c.id, names, seen.c.service == service)
    return existing_values(connection, runs.c.id, names.values()) | {names[name] for name in barred}


def add(connection: Connection, service: str, found: Iterable[StorageEvent], now: float) -> int:
    """Record that these revisions must never run for the service; return the number of new ones."""
    rows = {row_id(event): event for event in found}
    fresh = rows.keys() - existing_values(connection, seen.c.id, rows, seen.c.service == service)
    insert_baseline(connection, [_values(name, service, rows[name], now) for name in sorted(fresh)])
    return len(fresh)


def page(connection: Connection, service: str, provider: str, bucket: str, after: str) -> list[IgnoredRevision]:
    """Return a page of the ignored revisions of a service in a bucket, in row order, after the row ``after``."""
    scope = [seen.c.service == service, seen.c.provider == provider, seen.c.bucket == bucket]
    query = select(seen.c.id, seen.c.key, seen.c.noted).where(*scope, seen.c.id > after)
    rows = connection.execute(query.order_by(seen.c.id).limit(CHUNK))
    return [IgnoredRevision(row.id, row.id[PLACE:], key_text(row.key), cells.moment(row.noted)) for row in rows]


def remove(connection: Connection, service: str, ids: Sequence[str]) -> int:
    """Remove ignored revisions of a service by the ids of their rows."""
    return connection.execute(delete(seen).where(seen.c.id.in_(ids), seen.c.service == service)).rowcount


def existing_values(
    connection: Connection, column: Column[str], values: Iterable[str], *conditions: ColumnElement[bool]
) -> set[str]:
    """Return those of the values that the column contains."""
    found: set[str] = set()
    for chunk in chunks(values, CHUNK):
        found.update(connection.scalars(select(column).where(column.in_(chunk), *conditions)))
    return found


def insert_baseline(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows into ``seen``; existing rows are kept unchanged."""
    if rows:
        connection.execute(insert_new(connection.dialect, seen), rows)


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` values."""
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
