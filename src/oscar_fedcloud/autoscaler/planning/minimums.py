# SPDX-License-Identifier: Apache-2.0
"""The minimum number of machines of a pool, which may follow a schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from oscar_fedcloud.autoscaler.model import Pool


def minimum(pool: Pool, now: float) -> int:
    """Return the pool's minimum now: that of the schedule entry whose time came last, else ``min``."""
    moment = now // 60 * 60
    last = max(
        ((_last_time(cron, pool.timezone, moment), -index) for index, (cron, _) in enumerate(pool.minimums)),
        default=(0.0, 0),
    )
    return min(pool.max, pool.minimums[-last[1]][1] if last[0] else pool.min)


@lru_cache(maxsize=256)
def _last_time(cron: str, zone: str, now: float) -> float:
    """Return the last time that the expression names, including now; 0.0 if there is none."""
    begin = datetime.fromtimestamp(now + 60, ZoneInfo(zone))
    try:
        return next(CronSim(cron, begin, reverse=True)).timestamp()
    except StopIteration:
        return 0.0


def problem(cron: str, zone: str = "UTC") -> str:
    """Return what is wrong with a schedule's expression or its time zone, or ""."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return f"timezone {zone!r} is not known, use a name such as Europe/Madrid or UTC"
    try:
        CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"{cron!r} is not a schedule ({error}), use five fields such as '0 8 * * mon-fri'"
    if len(cron.split()) != 5:
        return f"{cron!r} is not a schedule, use five fields such as '0 8 * * mon-fri'"
    return ""
