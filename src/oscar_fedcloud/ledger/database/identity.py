# SPDX-License-Identifier: Apache-2.0
"""The ledger's identity, and whether it is the ledger of its site yet."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from oscar_fedcloud.ledger.database.tables import site


@dataclass(frozen=True, slots=True)
class LedgerIdentity:
    """Attributes:

    id: random, made with the database.
    accepted: whether a daemon has begun to work with it.
    """

    id: str
    accepted: bool


def get(connection: Connection) -> LedgerIdentity | None:
    """Return the ledger's identity, or None if it has none."""
    row = connection.execute(select(site).limit(1)).one_or_none()
    return None if row is None else LedgerIdentity(str(row.id), row.accepted is not None)


def make(connection: Connection) -> LedgerIdentity:
    """Create the ledger's identity unless it has one."""
    if (known := get(connection)) is not None:
        return known
    made = LedgerIdentity(secrets.token_hex(8), accepted=False)
    connection.execute(insert(site).values(id=made.id))
    return made


def accept(connection: Connection, now: float) -> bool:
    """Record that this is the ledger of its site from now on."""
    return connection.execute(update(site).where(site.c.accepted.is_(None)).values(accepted=now)).rowcount > 0
