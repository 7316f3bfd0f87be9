# SPDX-License-Identifier: Apache-2.0
"""Convert Kubernetes resource quantities exactly to integers that can be added and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR
from functools import lru_cache

from oscar_fedcloud.autoscaler.model import Resources
from oscar_fedcloud.fdl import LARGEST, parse_amount

Amounts = Mapping[str, str | int | float]  # as in Kubernetes objects


def parse_quantity(text: str | int | float, resource: str, *, up: bool) -> int:
    """Return millicores of ``cpu``, else bytes or a count. up: round up (requests) rather than down (capacity).

    Raises ValueError if the text is not a quantity.
    """
    return _whole(str(text), resource == "cpu", up)


@lru_cache(maxsize=4096)
def _whole(text: str, milli: bool, up: bool) -> int:
    exact = parse_amount(text) * (1000 if milli else 1)
    return int(exact.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))


def requested(amounts: Amounts) -> dict[str, int]:
    """Return a Pod's requests, rounded up. Amounts beyond the supported range become LARGEST and fit nowhere."""
    found = {}
    for name, value in amounts.items():
        try:
            found[name] = parse_quantity(value, name, up=True)
        except ValueError:
            found[name] = LARGEST
    return found


def available(amounts: Amounts) -> dict[str, int]:
    """Return amounts rounded down. Raises ValueError if one is not a quantity."""
    return {name: parse_quantity(value, name, up=False) for name, value in amounts.items()}


def offered(amounts: Amounts) -> dict[str, int]:
    """Return a node's reported amounts, rounded down. Values that are not quantities count as 0."""
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
    """Format an amount, e.g. ``cpu 1.5`` or ``memory 4Gi``."""
    if resource == "cpu":
        return f"cpu {value / 1000:g}"
    if resource not in ("memory", "ephemeral-storage"):
        return f"{resource} {value}"
    for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if value >= size:
            return f"{resource} {value / size:.4g}{unit}"
    return f"{resource} {value}"


def show_all(amounts: Resources) -> str:
    """Format amounts."""
    return ", ".join(show(name, value) for name, value in sorted(amounts.items()) if value)
