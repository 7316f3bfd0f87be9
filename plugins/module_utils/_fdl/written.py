# SPDX-License-Identifier: BSD-2-Clause
"""Scalars as they are written in YAML or JSON, and the values that YAML 1.2's core schema gives them."""

from __future__ import annotations

import math
import re
from typing import Any

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_WORDS: dict[str, Any] = {
    "": None,
    **dict.fromkeys(("~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_LONGEST_NUMBER = 64  # characters; a longer one stays text, since converting it takes quadratic time


class Written(str):
    """A scalar without quotes, as it is written. The field in which it stands decides its type (see ``resolve``)."""

    __slots__ = ()

    def value(self) -> Any:
        """Return the null, boolean, number or text that the core schema of YAML 1.2 reads here."""
        text = str(self)
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "+-.0123456789" or len(text) > _LONGEST_NUMBER:
            return text
        return _number(text)


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    infinite = _INFINITY.fullmatch(text)
    return float(infinite.group(1) + "inf") if infinite else text
