# SPDX-License-Identifier: Apache-2.0
"""The outputs of attempts: recorded with their end, removed with their run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, insert, select

from oscar_fedcloud.domain.identity import place_id
from oscar_fedcloud.domain.runs import StoredObject
from oscar_fedcloud.ledger.database.tables import outputs, runs
from oscar_fedcloud.ledger.values import bounds, cells
from oscar_fedcloud.ledger.values.rows import AnyRow, key_text


def add(connection: Connection, run_id: str, number: int, found: Iterable[StoredObject]) -> None:
    """Record what an attempt wrote, in this order."""
    kept = bounds.outputs(found)
    if not kept:
        return
    seq = connection.scalar(select(runs.c.seq).where(runs.c.id == run_id))
    if seq is None:
        return
    rows = [_values(seq, number, place, *item) for place, item in enumerate(kept, 1)]
    connection.execute(insert(outputs), rows)


def of_run(connection: Connection, run_id: str, attempt: int | None, after: int, limit: int) -> list[StoredObject]:
    """Return a page of what an attempt (None for the last one) wrote, skipping the first ``after`` objects."""
    which = runs.c.attempts if attempt is None else attempt
    query = (
        select(outputs)
        .join(runs, runs.c.seq == outputs.c.run_seq)
        .where(runs.c.id == run_id, outputs.c.number == which, outputs.c.position > after)
        .order_by(outputs.c.position)
        .limit(limit)
    )
    return [output_of(row) for row in connection.execute(query)]


def written(connection: Connection, run_id: str, before: int) -> list[StoredObject]:
    """Return what attempts with a smaller number wrote, each object as last written, at most ``MAX_OUTPUTS``."""
    query = (
        select(outputs)
        .join(runs, runs.c.seq == outputs.c.run_seq)
        .where(runs.c.id == run_id, outputs.c.number < before)
        .order_by(outputs.c.number.desc(), outputs.c.position)
        .limit(bounds.MAX_OUTPUTS)
    )
    found: dict[tuple[str, str, str], StoredObject] = {}
    for item in map(output_of, connection.execute(query)):
        found.setdefault((item.provider, item.bucket, item.key), item)
    return list(found.values())


def output_of(row: AnyRow) -> StoredObject:
    """Return the object in a row of ``outputs``."""
    size = bounds.number(row.size, 0, bounds.MAX_NUMBER)
    return StoredObject(cells.text(row.provider), cells.text(row.bucket), key_text(row.key), size, cells.text(row.etag))


def _values(seq: int, number: int, position: int, item: StoredObject, key: bytes) -> dict[str, Any]:
    return {
        "run_seq": seq,
        "number": number,
        "position": position,
        "place": place_id(item.bucket, item.key),
        "provider": item.provider,
        "bucket": item.bucket,
        "key": key,
        "size": item.size,
        "etag": item.etag,
    }
