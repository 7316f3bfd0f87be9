# SPDX-License-Identifier: Apache-2.0
"""Amounts of resources, exactly: as Kubernetes writes them, to whole numbers that can be added and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR
from functools import lru_cache

from oscar_fedcloud.autoscaler.model import Resources
from oscar_fedcloud.fdl import LARGEST, parse_amount

Amounts = Mapping[str, str | int | float]  # as they stand in Kubernetes objects


def parse_quantity(text: str | int | float, resource: str, *, up: bool) -> int:
    """Millicores of ``cpu``, else bytes or pieces. up: round up what is asked for, down what is there.

    Raises ValueError when the text is not a quantity.
    """
    return _whole(str(text), resource == "cpu", up)


@lru_cache(maxsize=4096)
def _whole(text: str, milli: bool, up: bool) -> int:
    exact = parse_amount(text) * (1000 if milli else 1)
    return int(exact.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))


def requested(amounts: Amounts) -> dict[str, int]:
    """What a Pod asks for, rounded up. Kubernetes takes amounts that are too large for us; they fit nowhere anyway."""
    found = {}
    for name, value in amounts.items():
        try:
            found[name] = parse_quantity(value, name, up=True)
        except ValueError:
            found[name] = LARGEST
    return found


def available(amounts: Amounts) -> dict[str, int]:
    """What is there, rounded down. Raises ValueError when one of them is no quantity."""
    return {name: parse_quantity(value, name, up=False) for name, value in amounts.items()}


def offered(amounts: Amounts) -> dict[str, int]:
    """What a node says that it has, rounded down. A node may say anything; what is no quantity for us counts as 0."""
    found = {}
    for name, value in amounts.items():
        try:
            found[name] = parse_quantity(value, name, up=False)
        except ValueError:
            found[name] = 0
    return found


def add(total: dict[str, int], amounts: Iterable[tuple[str, int]], times: int = 1) -> None:
    """Add amounts to a total, in place."""
    for name, value in amounts:
        total[name] = total.get(name, 0) + value * times


def show(resource: str, value: int) -> str:
    """An amount as people read it, e.g. ``cpu 1.5`` or ``memory 4Gi``."""
    if resource == "cpu":
        return f"cpu {value / 1000:g}"
    if resource not in ("memory", "ephemeral-storage"):
        return f"{resource} {value}"
    for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if value >= size:
            return f"{resource} {value / size:.4g}{unit}"
    return f"{resource} {value}"


def show_all(amounts: Resources) -> str:
    """Amounts as people read them."""
    return ", ".join(show(name, value) for name, value in sorted(amounts.items()) if value)
