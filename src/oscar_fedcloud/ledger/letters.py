# SPDX-License-Identifier: Apache-2.0
"""Dead letters: bodies that no event could be made of."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from oscar_fedcloud.ledger import cells
from oscar_fedcloud.ledger.records import DeadLetter
from oscar_fedcloud.ledger.rows import AnyRow
from oscar_fedcloud.ledger.tables import dead_letters


def newest(connection: Connection, limit: int, before: int | None) -> list[DeadLetter]:
    """Dead letters, newest first; with ``before``, those older than this id."""
    query = select(dead_letters).order_by(dead_letters.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(dead_letters.c.id < before)
    rows = connection.execute(query)
    return [_letter(row) for row in rows]


def get(connection: Connection, letter_id: int) -> DeadLetter | None:
    """One dead letter, or None."""
    found = newest(connection, 1, letter_id + 1)
    return found[0] if found and found[0].id == letter_id else None


def drop(connection: Connection, letter_id: int) -> bool:
    """Remove a dead letter; False if there is none."""
    return connection.execute(delete(dead_letters).where(dead_letters.c.id == letter_id)).rowcount > 0


def _letter(row: AnyRow) -> DeadLetter:
    moment = cells.moment(row.received)
    return DeadLetter(row.id, cells.text(row.source), cells.data(row.body), cells.text(row.reason), moment)
