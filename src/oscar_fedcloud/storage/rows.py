# SPDX-License-Identifier: Apache-2.0
"""Read listings in parts and look up their objects one by one, so that one bad object hides no other. Blocks."""

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
    """One object of a listing."""

    bucket: str
    key: str
    modified: datetime
    size: int
    etag: str  # without quotes
    version_id: str = ""  # empty if the listing shows no versions


def some_rows(rows: Iterator[StorageEvent], limit: int) -> tuple[list[StorageEvent], StoreError | None]:
    """Return at most ``limit`` rows of a listing, and the error that ended it early. Neither means the end."""
    found: list[StorageEvent] = []
    try:
        found.extend(islice(rows, limit))  # keeps the rows before an error
    except StoreError as error:
        return found, error
    return found, None


def look_up(store: ObjectReader, rows: Iterable[StorageEvent]) -> list[tuple[StorageEvent, StorageEvent | None]]:
    """Return each row with the current object, or None if it is gone.

    Rows without a usable answer are left out; the next listing returns them again. Raises StoreError if the store does
    not answer at all.
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
