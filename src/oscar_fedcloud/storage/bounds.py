# SPDX-License-Identifier: Apache-2.0
"""Validate values that stores report about objects. Each value is checked once, where it enters. No I/O.

Each function returns the value, or raises ValueError with a reason for people. Accepted values can be stored in both
databases and written to an event record.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

LONGEST_KEY = 4096  # bytes; S3 allows 1,024, some gateways more
LONGEST_RECORD = 64 * 1024  # bytes of JSON
LATEST_ORDER = 2**62  # ns, in the year 2116: later times count as this one
LARGEST = 2**63 - 1  # largest integer of the databases
_LONGEST_NAME = 1024  # characters; the limit of S3 for the name of a version
_LONGEST_BUCKET = 255
_LONGEST_NUMBER = 19  # digits of LARGEST
_NUMBER = re.compile(r"[0-9]+")
_SEQUENCER = re.compile(r"[0-9A-Fa-f]{1,16}")
_SHOWN = 60  # characters of a bad value in a reason


def checked_key(key: str) -> str:
    """Return an object key that the ledger can store."""
    try:
        size = len(key.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise ValueError("the key holds lone surrogates") from error
    if not 0 < size <= LONGEST_KEY:
        raise ValueError(f"the key has {size} bytes, allowed are 1 to {LONGEST_KEY}")
    return key


def checked_bucket(name: str) -> str:
    """Return the name of a bucket."""
    if not name or "/" in name or not _plain(name, _LONGEST_BUCKET):
        raise ValueError(f"{_shown(name)} is not the name of a bucket")
    return name


def checked_name(what: str, value: str) -> str:
    """Return a short text such as an eTag, a version id or a time. It may be empty."""
    if not _plain(value, _LONGEST_NAME):
        raise ValueError(f"{what} is {_shown(value)}, it must be at most {_LONGEST_NAME} printable characters")
    return value


def checked_size(value: int | None) -> int | None:
    """Return a size in bytes."""
    if value is not None and not 0 <= value <= LARGEST:
        raise ValueError("the size must be from 0 to 2^63 - 1 bytes")
    return value


def size_of(text: str) -> int:
    """Return a size in bytes from its digits."""
    if not _NUMBER.fullmatch(text) or len(text) > _LONGEST_NUMBER or not text.isascii():
        raise ValueError(f"the size is {_shown(text)}, it must be a number of bytes")
    checked_size(size := int(text))
    return size


def time_of(text: str) -> datetime:
    """Parse a time in ISO 8601. Without a zone it is UTC, like the times of S3."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"the time is {_shown(text)}, it must be in ISO 8601") from error


def checked_sequencer(text: str) -> str:
    """Return a MinIO sequencer: nanoseconds since the epoch, in hexadecimal."""
    if not _SEQUENCER.fullmatch(text):
        raise ValueError(f"the sequencer is {_shown(text)}, it must be 1 to 16 hexadecimal digits")
    return text


def order_of(nanoseconds: int) -> int:
    """Return the order of a revision, limited to the range from 1970 to LATEST_ORDER."""
    return min(max(nanoseconds, 0), LATEST_ORDER)


def _plain(text: str, limit: int) -> bool:
    return len(text) <= limit and text.isprintable()


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
