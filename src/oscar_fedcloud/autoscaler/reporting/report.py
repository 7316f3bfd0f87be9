# SPDX-License-Identifier: Apache-2.0
"""The report: a self-contained HTML page with states of machines over time, waits, node-hours and prices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from oscar_fedcloud.autoscaler.model import Pool
from oscar_fedcloud.autoscaler.reporting.history import Past
from oscar_fedcloud.autoscaler.reporting.sampler import STATES

_COLOURS = {
    "starting": "#e69f00",
    "busy": "#0072b2",
    "idle": "#56b4e9",
    "unready": "#d55e00",
    "leaving": "#999999",
    "stopped": "#dddddd",
    "failed": "#cc79a7",
}
_WIDTH, _HEIGHT, _LEFT = 900, 220, 40
Rows = Sequence[Sequence[str]]

_COLUMNS = 300  # points of the chart


def page(past: Past, pools: Mapping[str, Pool], cluster: str) -> str:
    """Return the page."""
    hours = (past.until - past.since) / 3600
    return _PAGE.format(
        cluster=escape(cluster),
        since=_moment(past.since),
        until=_moment(past.until),
        hours=f"{hours:g}",
        legend="".join(f'<span><i style="background:{_COLOURS[state]}"></i>{state}</span>' for state in STATES),
        chart=chart(past),
        pools=_table(("pool", "node-hours", "of them busy", "mean start", "price", "energy"), pool_rows(past, pools)),
        services=_table(("service", "node-hours", "price", "energy"), service_rows(past, pools)),
        waits=_table(("service", "Pods", "median", "95 %", "longest"), wait_rows(past)),
    )


def chart(past: Past) -> str:
    """Return a stacked chart of machines by state over time, with a circle for each Pod that stopped waiting."""
    step = (past.until - past.since) / _COLUMNS
    columns = [dict.fromkeys(STATES, 0.0) for _ in range(_COLUMNS)]
    for (minute, _, state), seconds in past.states.items():
        _spread(columns, past.since, step, minute, state, seconds)
    top = max(1.0, max(sum(column.values()) for column in columns))
    shapes, base = [], [0.0] * _COLUMNS
    for state in STATES:
        upper = [low + column[state] for low, column in zip(base, columns, strict=True)]
        if upper != base:
            shapes.append(f'<path fill="{_COLOURS[state]}" d="{_area(base, upper, top)}"><title>{state}</title></path>')
        base = upper
    circles = "".join(_circle(past, at, seconds) for at, _, seconds in past.waits[-2000:])
    axis = "".join(
        f'<text x="{_LEFT - 6}" y="{_HEIGHT * (1 - part) + 4:.0f}" text-anchor="end">{top * part:g}</text>'
        for part in (0, 0.5, 1)
    )
    size = f'viewBox="0 -10 {_WIDTH + _LEFT} {_HEIGHT + 20}"'
    return f'<svg {size} role="img" aria-label="machines by state over time">{"".join(shapes)}{circles}{axis}</svg>'


def _spread(
    columns: Sequence[dict[Any, float]], since: float, step: float, minute: int, state: str, seconds: float
) -> None:
    """Distribute the machine seconds of one minute over the columns that it overlaps."""
    first, last = int((minute - since) // step), int((minute + 60 - since) // step)
    touched = [index for index in range(first, last + 1) if 0 <= index < len(columns)]
    for index in touched:
        overlap = min(minute + 60, since + (index + 1) * step) - max(minute, since + index * step)
        columns[index][state] += seconds / 60 * max(0.0, overlap) / step


def _area(lower: Sequence[float], upper: Sequence[float], top: float) -> str:
    def point(index: int, value: float) -> str:
        return f"{_LEFT + index * _WIDTH / _COLUMNS:.1f},{_HEIGHT * (1 - value / top):.1f}"

    there = [point(index, value) for index, value in enumerate(upper)]
    back = [point(index, value) for index, value in reversed(list(enumerate(lower)))]
    return f"M{' L'.join([*there, *back])}Z"


def _circle(past: Past, at: float, seconds: float) -> str:
    x = _LEFT + (at - past.since) / (past.until - past.since) * _WIDTH
    return f'<circle cx="{x:.1f}" cy="{_HEIGHT + 5}" r="2.5"><title>waited {seconds:.0f} s</title></circle>'


def pool_rows(past: Past, pools: Mapping[str, Pool]) -> Rows:
    """Return for each pool: node-hours, the busy share, mean start time, price and energy."""
    there: dict[str, float] = defaultdict(float)
    busy: dict[str, float] = defaultdict(float)
    for (_, pool, state), seconds in past.states.items():
        there[pool] += seconds if state not in ("stopped", "failed") else 0.0
        busy[pool] += seconds if state == "busy" else 0.0
    rows = []
    for pool in sorted(there):
        starts = [seconds for name, seconds in past.starts if name == pool]
        mean = f"{sum(starts) / len(starts):.0f} s" if starts else ""
        share = f"{100 * busy[pool] / there[pool]:.0f} %" if there[pool] else ""
        rows.append((pool, _hours(there[pool]), share, mean, *_costs({pool: there[pool]}, pools)))
    return rows


def service_rows(past: Past, pools: Mapping[str, Pool]) -> Rows:
    """Return for each service: node-hours, price and energy."""
    services: dict[str, dict[str, float]] = defaultdict(dict)
    for (pool, service), seconds in past.usage.items():
        services[service][pool] = seconds
    ordered = sorted(services, key=lambda name: (name == "", -sum(services[name].values())))
    return [
        (name or "(nobody)", _hours(sum(services[name].values())), *_costs(services[name], pools)) for name in ordered
    ]


def _costs(seconds: Mapping[str, float], pools: Mapping[str, Pool]) -> tuple[str, str]:
    """Return price and energy of node seconds by pool, or "" if the pools do not state them."""
    known = {name: pools[name] for name in seconds if name in pools}
    price = sum(seconds[name] / 3600 * pool.price for name, pool in known.items())
    energy = sum(seconds[name] / 3600 * pool.watts / 1000 for name, pool in known.items())
    return (f"{price:.2f}" if price else "", f"{energy:.2f} kWh" if energy else "")


def wait_rows(past: Past) -> Rows:
    """Return for each service: how long its Pods waited for a node."""
    by_service: dict[str, list[float]] = defaultdict(list)
    for _, service, seconds in past.waits:
        by_service[service or "(others)"].append(seconds)
    return [
        (service, str(len(waits)), *(f"{quantile(waits, part):.1f} s" for part in (0.5, 0.95, 1.0)))
        for service, waits in sorted(by_service.items())
    ]


def quantile(values: Iterable[float], part: float) -> float:
    """Return the smallest value that at least this fraction of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>nothing yet</p>"
    first = "".join(f"<th>{escape(each)}</th>" for each in head)
    rest = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{first}</tr>{rest}</table>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Autoscaler of {cluster}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
svg {{ width: 100%; }} svg text {{ font-size: 11px; fill: currentColor; }} circle {{ fill: #009e73; opacity: .6; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #8884; }}
td:first-child, th:first-child {{ text-align: left; }}
.legend span {{ margin-right: 1rem; }}
.legend i {{ display: inline-block; width: .8em; height: .8em; margin-right: .3em; }}
</style></head><body>
<h1>Autoscaler of {cluster}</h1>
<p>{since} to {until}.
Show <a href="?hours=1">1 hour</a>, <a href="?hours=24">a day</a>, <a href="?hours=168">a week</a>.</p>
<h2>Machines</h2><p class="legend">{legend}</p>{chart}
<p>Circles: Pods that found a node after they had to wait for one.</p>
<h2>Pools</h2>{pools}
<h2>Node-hours by service</h2><p>By the share of a node's CPU that a service's Pods asked for.</p>{services}
<h2>Waits for a node</h2>{waits}
</body></html>
"""
