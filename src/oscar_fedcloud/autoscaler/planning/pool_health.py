# SPDX-License-Identifier: Apache-2.0
"""The health of a pool: each failed launch closes it for longer, a success opens it again."""

from __future__ import annotations

from dataclasses import replace

from oscar_fedcloud.autoscaler.model import PoolHealth

MAX_BACKOFF = 1800.0  # s


def failed(health: PoolHealth, now: float, reason: str, first: float = 30.0, most: float = MAX_BACKOFF) -> PoolHealth:
    """Return the health after a failed launch: closed for ``first`` seconds, doubled by each failure up to ``most``."""
    rest = min(most, first * 2.0 ** min(max(health.failures, 0), 60))
    return replace(health, closed_until=now + rest, failures=health.failures + 1, reason=reason)


def backoff_until(health: PoolHealth, now: float) -> float:
    """Return when a closed pool opens, or 0 if it is open. A time beyond MAX_BACKOFF comes from a wrong clock."""
    return health.closed_until if now < health.closed_until <= now + MAX_BACKOFF else 0.0


def succeeded(health: PoolHealth) -> PoolHealth:
    """Return the health after a machine joined."""
    return replace(health, closed_until=0.0, failures=0, reason="")


def with_headroom(health: PoolHealth, headroom: int | None, reason: str = "") -> PoolHealth:
    """Return the health with the machines that the quota allows, and the resource that limits them."""
    return replace(health, headroom=headroom, reason=reason or health.reason)
