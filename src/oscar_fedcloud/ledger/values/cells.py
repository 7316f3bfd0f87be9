# SPDX-License-Identifier: Apache-2.0
"""Validates values read from the tables: a crash or a manual edit may have left anything there.

SQLite stores any type in any column, PostgreSQL infinite times, and both any word as a state.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from oscar_fedcloud.domain.jsontext import from_json
from oscar_fedcloud.ledger.values import bounds

E = TypeVar("E", bound=StrEnum)


class BadRow(ValueError):
    """A row that is not valid; the message names the column and its value."""


def text(value: object) -> str:
    """Return an informational text."""
    return value if isinstance(value, str) else "" if value is None else bounds.text(value)


def name(column: str, value: object) -> str:
    """Return an essential text. Raises BadRow."""
    if isinstance(value, str) and value:
        return value
    raise bad(column, value, "a text")


def whole(column: str, value: object, least: int, most: int) -> int:
    """Return an essential whole number. Raises BadRow."""
    found = bounds.number(value, least, most)
    if found is None:
        raise bad(column, value, "a whole number" if least < 0 else f"a whole number from {least}")
    return found


def small(value: object) -> int:
    """Return a count, or 0 if the value is not valid."""
    return bounds.number(value, 0, bounds.MAX_SMALL) or 0


def moment(value: object) -> float:
    """Return a time, or 0 if the value is not valid."""
    return bounds.moment(value, 0.0)


def moment_or_none(value: object) -> float | None:
    """Return a time, or None if the value is not valid."""
    return None if value is None else bounds.moment(value, 0.0) or None


def data(value: object) -> bytes:
    """Return bytes, or empty bytes if the value is not valid."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


def key(value: object) -> str:
    """Return an object key. Raises BadRow."""
    found = data(value).decode("utf-8", "surrogateescape")
    if not found:
        raise bad("key", value, "a name of at least one byte")
    return found


def choice(column: str, value: object, kind: type[E]) -> E:
    """Return a member of an enumeration. Raises BadRow."""
    try:
        return kind(str(value))
    except ValueError:
        raise bad(column, value, f"one of {', '.join(kind)}") from None


def choice_or(value: object, kind: type[E], default: E) -> E:
    """Return a member of an enumeration, or the default if the value is not valid."""
    try:
        return kind(str(value))
    except ValueError:
        return default


def texts(value: object) -> dict[str, str]:
    """Return a mapping of texts stored as JSON, or an empty one if the value is not valid."""
    try:
        found: Any = from_json(data(value))
    except (ValueError, RecursionError):
        return {}
    return bounds.limits(found) if isinstance(found, dict) else {}


def record(value: object) -> bytes:
    """Return an event's record: a JSON object of bounded size. Raises BadRow."""
    found = data(value)
    try:
        if len(found) <= bounds.MAX_RECORD and isinstance(from_json(found), dict):
            found.decode()
            return found
    except (ValueError, RecursionError):
        pass
    raise bad("record", found[:60], f"a JSON object of at most {bounds.MAX_RECORD // 1024} KiB")


def bad(column: str, value: object, right: str) -> BadRow:
    """Return the error for a value that is not valid."""
    return BadRow(f"the ledger's row is damaged: {column} is {bounds.text(repr(value), 60)}, not {right}")
