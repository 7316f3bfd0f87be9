# SPDX-License-Identifier: Apache-2.0
"""Requests by their Idempotency-Key: a key belongs to one request, also after a restart and among replicas."""

from __future__ import annotations

import math
from enum import Enum

from sqlalchemy import Connection, delete, func, select

from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.ledger.database.dialects import insert_new
from oscar_fedcloud.ledger.database.tables import requests, runs
from oscar_fedcloud.ledger.values import cells

_LONGEST_REQUEST = 86_400.0  # s from the use of a key until its run is recorded


class Claim(Enum):
    """The owner of a key: no request, this request, or another one."""

    NEW = "new"
    SAME = "same"
    OTHER = "other"


def claim(connection: Connection, key: str, request: str, now: float) -> Claim:
    """Assign the key to this request, given by its digest, unless it is already assigned."""
    name = digest(key)
    values = {"id": name, "digest": request, "created": now}
    if connection.execute(insert_new(connection.dialect, requests).values(values)).rowcount > 0:
        return Claim.NEW
    known = connection.scalar(select(requests.c.digest).where(requests.c.id == name))
    return Claim.SAME if known == request else Claim.OTHER


def release(connection: Connection, key: str, request: str) -> bool:
    """Release the key, since the request was refused."""
    mine = requests.c.id == digest(key), requests.c.digest == request
    return connection.execute(delete(requests).where(*mine)).rowcount > 0


def oldest_needed(connection: Connection) -> float:
    """Return the age limit of keys: they are older than their runs, of which the oldest is the first in its table."""
    first = select(func.min(runs.c.seq)).scalar_subquery()
    moment = connection.scalar(select(runs.c.created).where(runs.c.seq == first))
    return math.inf if moment is None else cells.moment(moment) - _LONGEST_REQUEST


def drop(connection: Connection, before: float, limit: int) -> int:
    """Remove at most ``limit`` keys that were first used before that time."""
    old = select(requests.c.id).where(requests.c.created < before).limit(limit)
    return connection.execute(delete(requests).where(requests.c.id.in_(old))).rowcount
