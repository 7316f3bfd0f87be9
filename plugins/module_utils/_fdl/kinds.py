# SPDX-License-Identifier: BSD-2-Clause
"""The types of single values: text, numbers, amounts, names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .quantity import LARGEST, parse_cpu, parse_duration, parse_quantity
from .table import Finding, Kind

_DIGITS = re.compile(r"[-+]?[0-9]+")
_MEMORY_SLIP = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kKmMgGtT]?)([iI]?)[bB]?")


class Text(Kind):
    """A string. ``pattern`` must match all of it, unless it is empty and ``optional``."""

    label = "text"
    text = True

    def __init__(self, pattern: str = "", rule: str = "", optional: bool = True, longest: int = 0) -> None:
        self.pattern = pattern
        self.optional = optional
        self.longest = longest
        self._rule = rule
        self._match = re.compile(pattern).fullmatch if pattern else None

    def read(self, reader: Any, value: Any) -> str:
        if isinstance(value, str):
            return value
        reader.wrong_type(self, value, "put it in quotes" if isinstance(value, (bool, int, float)) else "")
        return ""

    def empty(self) -> str:
        return ""

    def check(self, value: str) -> Finding:
        if not value:
            return None if self.optional else ("is empty", self._rule)
        found = _check_characters(value)
        if found:
            return found
        if self.longest and len(value) > self.longest:
            return f"is {len(value)} characters long", f"use at most {self.longest}"
        if self._match is not None and self._match(value) is None:
            return f"is not {self.label}", self._rule
        return None

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        if self.pattern:
            schema["pattern"] = f"^(?:{self.pattern})?$" if self.optional else f"^(?:{self.pattern})$"
        elif not self.optional:
            schema["minLength"] = 1
        if self.longest:
            schema["maxLength"] = self.longest
        return schema


def _check_characters(value: str) -> Finding:
    """Only text that every system call and file can take."""
    if "\0" in value:
        return "has a NUL character", "leave it out"
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        return "is not valid Unicode", "write it in UTF-8"
    return None


def text(label: str, pattern: str, rule: str, optional: bool = True, longest: int = 0) -> Text:
    """A Text with a name of its own, as in "is not <label>"."""
    kind = Text(pattern, rule, optional, longest)
    kind.label = label
    return kind


class Script(Text):
    """A script, no larger than fits into a Kubernetes object together with the variables and the runner."""

    LARGEST = 640 * 1024  # bytes

    def __init__(self) -> None:
        super().__init__(longest=self.LARGEST)

    def check(self, value: str) -> Finding:
        found = super().check(value)
        size = 0 if found else len(value.encode())
        if size > self.LARGEST:
            return f"has {size} bytes", f"use at most {self.LARGEST}, and put the rest into the image"
        return found


class Scalar(Kind):
    """Text of an environment variable; numbers and booleans are taken as they are written in YAML."""

    label = "text"
    text = True

    def read(self, reader: Any, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return str(value)
        reader.wrong_type(self, value)
        return ""

    def empty(self) -> str:
        return ""

    def check(self, value: str) -> Finding:
        return _check_characters(value)

    def schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean"]}


class Bool(Kind):
    label = "true or false"

    def read(self, reader: Any, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        reader.wrong_type(self, value, "write true or false, without quotes" if isinstance(value, str) else "")
        return False

    def empty(self) -> bool:
        return False

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Int(Kind):
    """A whole number within bounds, or 0 when ``zero``."""

    label = "a whole number"

    def __init__(self, low: int = 0, high: int = 2**31 - 1, zero: bool = False) -> None:
        self.low = low
        self.high = high
        self.zero = zero

    def read(self, reader: Any, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and len(value) > 20 and _DIGITS.fullmatch(value):
            reader.report(value, "is out of range", f"use {self.low} to {self.high}")
        else:
            quoted = isinstance(value, str) and _DIGITS.fullmatch(value)
            reader.wrong_type(self, value, "write it without quotes" if quoted else "")
        return self.low

    def empty(self) -> int:
        return self.low

    def check(self, value: int) -> Finding:
        if self.low <= value <= self.high or (self.zero and value == 0):
            return None
        return "is out of range", f"use {self.low} to {self.high}"

    def schema(self) -> dict[str, Any]:
        schema = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [{"const": 0}, schema]} if self.zero else schema


class Choice(Kind):
    """One of a few words. ``fold``: upper and lower case are the same, and the word is kept as declared."""

    text = True

    def __init__(self, *words: str, fold: bool = False) -> None:
        self.words = words
        self.fold = {word.lower(): word for word in words} if fold else {}
        self.label = "one of " + ", ".join(word for word in words if word)

    def read(self, reader: Any, value: Any) -> str:
        if isinstance(value, str):
            return self.fold.get(value.lower(), value)
        reader.wrong_type(self, value)
        return self.words[0]

    def empty(self) -> str:
        return self.words[0]

    def check(self, value: str) -> Finding:
        if value in self.words:
            return None
        return "is not known here", f"use {self.label}"

    def schema(self) -> dict[str, Any]:
        if self.fold:
            letters = "|".join("".join(f"[{c.upper()}{c.lower()}]" for c in word) for word in self.words)
            return {"type": "string", "pattern": f"^(?:{letters})$"}
        return {"enum": list(self.words)}


class Amount(Kind):
    """A Kubernetes quantity, kept as it is written. ``least``: what makes sense at all; ``optional``: may be empty."""

    text = True

    def __init__(
        self, label: str, parse: Callable[[str], float], rule: str, least: float, optional: bool = False
    ) -> None:
        self.label = label
        self.optional = optional
        self._parse = parse
        self._rule = rule
        self._least = least

    def read(self, reader: Any, value: Any) -> str:
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and value <= LARGEST):
            return str(value)
        reader.wrong_type(self, value)
        return ""

    def empty(self) -> str:
        return ""

    def check(self, value: str) -> Finding:
        if self.optional and not value:
            return None
        try:
            amount = self._parse(value)
        except ValueError:
            return f"is not {self.label}", self._rule
        return ("is too little to run with", self._rule) if amount < self._least else None

    def schema(self) -> dict[str, Any]:
        pattern = r"^\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)([numk]|[MGTPE]i?|Ki|[eE][+-]?[0-9]{1,2})?\s*$"
        text_schema = {"type": "string", "pattern": pattern}
        return {"anyOf": [text_schema, {"type": "number", "minimum": 0}, *([{"const": ""}] if self.optional else [])]}


class Memory(Amount):
    """An amount of memory; a usual slip of the suffix gets its correction as hint."""

    def check(self, value: str) -> Finding:
        found = super().check(value)
        slip = _MEMORY_SLIP.fullmatch(value) if found else None
        if found is None or slip is None:
            return found
        number, letter, binary = slip.groups()
        suffix = "Mi" if letter in ("", "m") else letter.upper().replace("K", "k") + binary.lower()
        meant = number + suffix.replace("ki", "Ki")
        return found if super().check(meant) else (found[0], f"did you mean {meant}?")


def memory_amount(optional: bool = False) -> Memory:
    """An amount of memory or storage; less than 1 MiB is a slip of the suffix (``512`` or ``512m`` for ``512Mi``)."""
    rule = "use a number with a suffix, such as 512Mi or 2G, at least 1Mi"
    return Memory("a memory quantity", parse_quantity, rule, 2**20, optional)


def cpu_amount(optional: bool = False) -> Amount:
    """A number of cores, of which Kubernetes knows thousandths."""
    return Amount(
        "a CPU quantity", parse_cpu, "use cores such as 0.5 or 2, or thousandths such as 500m", 0.001, optional
    )


class Duration(Kind):
    """A time span, kept in seconds: an int when ``whole``, else a float."""

    label = "a duration"
    text = True

    def __init__(self, whole: bool) -> None:
        self._whole = whole

    def read(self, reader: Any, value: Any) -> float:
        try:
            seconds = parse_duration(value)
        except ValueError:
            reader.report(value, "is not a duration", "use seconds, or a form such as 30s, 5m or 1h30m")
            return self.empty()
        if not self._whole:
            return seconds
        if seconds != int(seconds):
            reader.report(value, "is not a whole number of seconds", "use seconds, or a form such as 30s, 5m or 1h30m")
        return int(seconds)

    def empty(self) -> float:
        return 0 if self._whole else 0.0

    def check(self, value: float) -> Finding:
        return None if value <= 2**31 - 1 else ("is longer than 68 years", "use 0 for no limit")

    def schema(self) -> dict[str, Any]:
        part = r"\d+(\.\d+)?"
        number = {"type": "integer" if self._whole else "number", "minimum": 0, "maximum": 2**31 - 1}
        pattern = f"^(?=.)({part}d)?({part}h)?({part}m)?({part}s?)?$"
        return {"anyOf": [number, {"type": "string", "pattern": pattern}]}


class Url(Text):
    """An http or https address. A user or password in it is refused and not shown."""

    label = "an http or https URL"

    def check(self, value: str) -> Finding:
        found = super().check(value)
        if found or not value:
            return found
        rule = "use a form such as https://host/path"
        try:
            parts = urlsplit(value)
            valid = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            return "is not a valid URL", rule
        if not valid or re.search(r"\s", value):
            return f"is not {self.label}", rule
        if parts.username is not None:
            return "holds a user name or password", "leave it out; calls are signed instead"
        return None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(https?://[^\s/@]+([/?#]\S*)?)?$"}
