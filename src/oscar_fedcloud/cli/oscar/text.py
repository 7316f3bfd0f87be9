# SPDX-License-Identifier: Apache-2.0
"""Text output: tables, sizes, ages, and names that are safe for a terminal. Pure functions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

GAP = "  "
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COLOURS = {
    "succeeded": 32,
    "ready": 32,
    "ok": 32,
    "failed": 31,
    "error": 31,
    "fail": 31,
    "running": 36,
    "queued": 33,
    "pending": 33,
    "warn": 33,
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. With ``shrinks``, its longest entries are cut if the terminal is too narrow."""

    head: str
    shrinks: bool = False


def printable(text: str) -> str:
    """Return the text with control characters, and characters that hide others, escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if unicodedata.category(each)[0] == "C" else each for each in text)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cells(text: str) -> int:
    """Return the number of terminal columns of the text."""
    if text.isascii():
        return len(text)
    return sum(_width(each) for each in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return the text in at most ``width`` columns, with an ellipsis for the omitted middle."""
    if cells(text) <= width:
        return text
    tail = (width - 1) // 2
    end = _last(text, tail)
    return _first(text, width - 1 - cells(end)) + "…" + end


def _first(text: str, width: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _width(character)
        if used > width:
            return text[:index]
    return text


def _last(text: str, width: int) -> str:
    return _first(text[::-1], width)[::-1]


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None, colour: bool) -> str:
    """Return the rows as aligned columns. Without ``width`` nothing is cut."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [
        max(cells(text) for text in (column.head, *(row[i] for row in shown))) for i, column in enumerate(columns)
    ]
    if width is not None:
        widths = fit(widths, [column.shrinks for column in columns], width)
    lines = [_line([column.head for column in columns], widths, False)]
    lines += [_line(row, widths, colour) for row in shown]
    return "\n".join(lines)


def fit(widths: Sequence[int], shrinks: Sequence[bool], width: int, least: int = 8) -> list[int]:
    """Return the widths, reducing the widest columns that may shrink until all fit or none can shrink further."""
    found = list(widths)
    excess = sum(found) + len(GAP) * (len(found) - 1) - width
    while excess > 0:
        candidates = [index for index, may in enumerate(shrinks) if may and found[index] > least]
        if not candidates:
            break
        widest = max(candidates, key=lambda index: found[index])
        found[widest] -= 1
        excess -= 1
    return found


def _line(row: Sequence[str], widths: Sequence[int], colour: bool) -> str:
    parts = []
    for text, width in zip(row, widths, strict=True):
        text = cut(text, width)
        padding = " " * (width - cells(text))
        parts.append((paint(text) if colour else text) + padding)
    return GAP.join(parts).rstrip()


def paint(text: str) -> str:
    """Return the name of a state in its colour; other text as it is."""
    code = _COLOURS.get(text)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def size(count: int | None) -> str:
    """Return a number of bytes in three or four digits and a unit."""
    if count is None:
        return "?"
    amount, unit = float(count), 0
    while amount >= 1023.5 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.{3 if amount < 999.5 else 4}g} {_SIZES[unit]}"


def span(seconds: float) -> str:
    """Return a time span in about two digits and a unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def moment(text: str) -> float | None:
    """Return an RFC 3339 time in seconds since the epoch, or None if it is not valid."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def age(text: str | None, now: float) -> str:
    """Return the age of an RFC 3339 time, or "" without one."""
    then = moment(text) if text else None
    return "" if then is None else span(now - then)


def plural(count: int, noun: str) -> str:
    """Return the number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
