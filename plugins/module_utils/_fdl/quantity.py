# SPDX-License-Identifier: BSD-2-Clause
"""Amounts of memory, CPU and time as Kubernetes and people write them."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Union

Number = Union[int, float]

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([num]|k|[MGTPE]i?|Ki|[eE][+-]?[0-9]{1,2})?")
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s?)?")
LARGEST = 2**63 - 1  # as in Kubernetes
_SECONDS = (86400, 3600, 60, 1)
_FACTORS = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(1000), "Ki": Decimal(1024)}
_FACTORS.update({letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", 2)})
_FACTORS.update({letter + "i": Decimal(1024) ** power for power, letter in enumerate("MGTPE", 2)})


def parse_amount(value: str | Number) -> Decimal:
    """The exact amount of a Kubernetes quantity. Raises ValueError when the value is not one or is negative."""
    return _amount(_text(value))


def parse_quantity(value: str | Number) -> int:
    """Bytes of a Kubernetes memory quantity such as ``256Mi``, ``1.5G``, ``1e9`` or 1024, rounded up.

    Raises ValueError when the value is not a quantity or is negative.
    """
    return int(parse_amount(value).to_integral_value(ROUND_CEILING))


def parse_cpu(value: str | Number) -> float:
    """Cores of a Kubernetes CPU quantity such as ``500m``, ``0.2`` or 2. Raises ValueError when it is not one."""
    return float(parse_amount(value))


def parse_duration(value: str | Number) -> float:
    """Seconds of a duration: a number, or ``30s``, ``2m``, ``1h30m``, ``1d``. Raises ValueError when it is not one."""
    text = _text(value)
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{value!r} is not a duration")
    seconds = sum(float(part) * _SECONDS[index] for index, part in enumerate(found.groups()) if part is not None)
    if seconds > LARGEST:
        raise ValueError("a duration is too long")
    return seconds


def _text(value: str | Number) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is not an amount")
    return str(value)


@lru_cache(maxsize=1024)
def _amount(text: str) -> Decimal:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a quantity")
    number, suffix = found.groups()
    factor = _FACTORS.get(suffix) if suffix else Decimal(1)
    amount = Decimal(number) * factor if factor else Decimal(f"{number}{suffix}")
    if amount > LARGEST:
        raise ValueError(f"{text[:80]!r} is not a quantity: it is too large")
    return amount
