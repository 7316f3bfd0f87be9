# SPDX-License-Identifier: Apache-2.0
"""What failures and quotas mean for the use of a pool: each failure closes it for longer, a success opens it."""

from __future__ import annotations

from dataclasses import replace

from oscar_fedcloud.autoscaler.model import PoolHealth

MAX_BACKOFF = 1800.0  # s


def failed(health: PoolHealth, now: float, reason: str, first: float = 30.0, most: float = MAX_BACKOFF) -> PoolHealth:
    """After a failed launch: closed for ``first`` seconds, doubled by each further failure up to ``most``."""
    rest = min(most, first * 2.0 ** min(max(health.failures, 0), 60))
    return replace(health, closed_until=now + rest, failures=health.failures + 1, reason=reason)


def backoff_until(health: PoolHealth, now: float) -> float:
    """When a closed pool opens, 0 when it is open. A time beyond the longest rest was not written by a right clock."""
    return health.closed_until if now < health.closed_until <= now + MAX_BACKOFF else 0.0


def succeeded(health: PoolHealth) -> PoolHealth:
    """After a machine joined."""
    return replace(health, closed_until=0.0, failures=0, reason="")


def with_headroom(health: PoolHealth, headroom: int | None, reason: str = "") -> PoolHealth:
    """With what the quota lets, asked beforehand; reason: what is short."""
    return replace(health, headroom=headroom, reason=reason or health.reason)
