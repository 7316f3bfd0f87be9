# SPDX-License-Identifier: Apache-2.0
"""Identify and order the contents of a key. An event and a listing row of the same object give equal revisions.

MinIO's sequencer is the object's modification time in nanoseconds; a listing shows it truncated to milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_END_OF_MS = 999_999  # ns: a listing row never counts as older than an event of the same millisecond


class Revision(NamedTuple):
    """A revision of an object."""

    name: str  # the same in events and listings
    order: int  # ns; a larger value is newer


def milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since the epoch."""
    return (moment - _EPOCH) // _MS


def revision_of_event(version_id: str, sequencer: str, etag: str) -> Revision:
    """Return the revision in a MinIO event. Raises ValueError if the sequencer is not hexadecimal."""
    order = int(sequencer, 16)
    return Revision(_name(version_id, order // 1_000_000, etag), order)


def revision_of_row(version_id: str, modified: datetime, etag: str) -> Revision:
    """Return the revision in a MinIO listing row. HTTP headers do not suffice: their time is truncated to seconds."""
    ms = milliseconds(modified)
    return Revision(_name(version_id, ms, etag), ms * 1_000_000 + _END_OF_MS)


def revision_of_polled(size: int, modified: datetime, etag: str) -> Revision:
    """Return the revision in a listing row of a store without events."""
    ms = milliseconds(modified)
    return Revision(f"{ms:x}-{size:x}-{etag}", ms * 1_000_000 + _END_OF_MS)


def _name(version_id: str, ms: int, etag: str) -> str:
    # A suspended bucket reports the version "null", or none, for objects that can be overwritten.
    return version_id if version_id not in ("", "null") else f"{ms:x}-{etag}"
