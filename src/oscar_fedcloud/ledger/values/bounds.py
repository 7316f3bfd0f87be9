# SPDX-License-Identifier: Apache-2.0
"""Bounds on values from outside: every value is converted to one that both databases can store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from oscar_fedcloud.domain.runs import StoredObject

MAX_REASON = 2000  # characters
MAX_SUMMARY = 80  # characters
MAX_NAME = 1024  # characters of a provider, a bucket, an eTag
MAX_KEY = 4096  # bytes
MAX_OUTPUTS = 10_000  # of one attempt
MAX_LIMITS = 32
MAX_RECORD = 64 * 1024  # bytes of an event's record
MAX_WAIT = 7 * 86_400.0  # s: the longest wait for the next attempt, whatever the clock said
MAX_NUMBER = 2**63 - 1
MAX_SMALL = 2**31 - 1
LATEST = 253_402_300_799.0  # s: the end of the year 9999, the limit of calendars


def text(value: object, limit: int = MAX_REASON) -> str:
    """Return text that every database accepts: lone surrogates and NUL escaped, at most ``limit`` characters."""
    shown = _string(value)[: limit + 1].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except ValueError:  # a number with thousands of digits
        return f"a {type(value).__name__} that cannot be shown"


def number(value: object, least: int, most: int) -> int | None:
    """Return a whole number within these bounds, else None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if least <= value <= most else None


def exit_code(value: object) -> int | None:
    """Return an exit code, or None if the value is not valid."""
    return number(value, -MAX_SMALL, MAX_SMALL)


def count(value: object) -> int:
    """Return a count, or 0 if the value is not valid."""
    return number(value, 0, MAX_NUMBER) or 0


def moment(value: object, default: float) -> float:
    """Return a time in seconds since the epoch, or ``default`` if the value is not valid, such as NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return float(value) if 0 <= value <= LATEST else default  # NaN is neither


def limits(value: Mapping[str, str]) -> dict[str, str]:
    """Return how the limits of a Job were enforced, as few and short texts."""
    return {text(name, MAX_SUMMARY): text(how) for name, how in list(value.items())[:MAX_LIMITS]}


def outputs(found: Iterable[StoredObject]) -> list[tuple[StoredObject, bytes]]:
    """Return the outputs that can be recorded, with their keys as bytes.

    Outputs that no store could hold are skipped.
    """
    result = []
    for item in found:
        key = _key(item.key)
        if key is not None:
            result.append((_output(item), key))
        if len(result) == MAX_OUTPUTS:
            break
    return result


def _output(item: StoredObject) -> StoredObject:
    names = text(item.provider, MAX_NAME), text(item.bucket, MAX_NAME), item.key
    return StoredObject(*names, number(item.size, 0, MAX_NUMBER), text(item.etag, MAX_NAME))


def _key(key: str) -> bytes | None:
    try:
        data = key.encode("utf-8", "surrogateescape")
    except UnicodeError:
        return None
    return data if 0 < len(data) <= MAX_KEY else None
