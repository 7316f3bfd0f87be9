# SPDX-License-Identifier: Apache-2.0
"""Dead letters: bodies from which no event could be read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select

from oscar_fedcloud.ledger.database.tables import dead_letters
from oscar_fedcloud.ledger.records import DeadLetter
from oscar_fedcloud.ledger.values import bounds, cells
from oscar_fedcloud.ledger.values.rows import AnyRow

SHOWN = 4096  # bytes of a body in lists


def newest(connection: Connection, limit: int, before: int | None) -> list[DeadLetter]:
    """Return dead letters, newest first, with the beginning of their bodies.

    With ``before``, only those older than this id.
    """
    head = func.substr(dead_letters.c.body, 1, SHOWN).label("body")
    query = _query(head).order_by(dead_letters.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(dead_letters.c.id < before)
    return [_letter(row) for row in connection.execute(query)]


def get(connection: Connection, letter_id: int) -> DeadLetter | None:
    """Return one dead letter with its whole body, or None."""
    row = connection.execute(_query(dead_letters.c.body).where(dead_letters.c.id == letter_id)).one_or_none()
    return None if row is None else _letter(row)


def _query(body: ColumnElement[bytes]) -> Select[Any]:
    columns = [column for column in dead_letters.c if column.name != "body"]
    return select(*columns, body, func.length(dead_letters.c.body).label("size"))


def drop(connection: Connection, letter_id: int) -> bool:
    """Remove a dead letter; return False if it does not exist."""
    return connection.execute(delete(dead_letters).where(dead_letters.c.id == letter_id)).rowcount > 0


def _letter(row: AnyRow) -> DeadLetter:
    moment = cells.moment(row.received)
    texts = cells.text(row.source), cells.data(row.body), cells.text(row.reason)
    return DeadLetter(row.id, *texts, moment, bounds.count(row.size))
