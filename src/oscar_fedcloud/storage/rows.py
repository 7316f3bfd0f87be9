# SPDX-License-Identifier: Apache-2.0
"""Taking listings in parts, and looking up their objects one by one, so that one bad object hides no other. Blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import structlog

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.storage.errors import BadAnswer, StoreError
from oscar_fedcloud.storage.ports import ObjectReader

log = structlog.get_logger(__name__)


class Row(NamedTuple):
    """One object of a listing. etag: without quotes. version_id: "" when the listing shows no versions."""

    bucket: str
    key: str
    modified: datetime
    size: int
    etag: str
    version_id: str = ""


def some_rows(rows: Iterator[StorageEvent], limit: int) -> tuple[list[StorageEvent], StoreError | None]:
    """At most so many rows of a listing, and what ended it early. Without both it has come to its end."""
    found: list[StorageEvent] = []
    try:
        found.extend(islice(rows, limit))  # keeps what came before an error
    except StoreError as error:
        return found, error
    return found, None


def look_up(store: ObjectReader, rows: Iterable[StorageEvent]) -> list[tuple[StorageEvent, StorageEvent | None]]:
    """Each row with the object that the store has now, None when it is gone.

    Rows that the store has no good answer for are left out; they come again with the next listing. Raises StoreError
    when the store does not answer at all.
    """
    found: list[tuple[StorageEvent, StorageEvent | None]] = []
    for row in rows:
        try:
            found.append((row, store.stat(row.bucket, row.key)))
        except StoreError as error:
            if not isinstance(error, BadAnswer) and not store.health()["ok"]:
                raise
            log.warning("object cannot be looked up", bucket=row.bucket, key=row.key, error=str(error))
    return found
