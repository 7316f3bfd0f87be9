# SPDX-License-Identifier: Apache-2.0
"""The data of the report in an SQLite file: states of machines over time, waits, starts and node-hours.

Values are aggregated in memory and written periodically from a thread, so nothing waits for the disk.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS states (
    minute INTEGER, pool TEXT, state TEXT, seconds REAL, PRIMARY KEY (minute, pool, state)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS usage (
    hour INTEGER, pool TEXT, service TEXT, seconds REAL, PRIMARY KEY (hour, pool, service)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waits (at REAL, service TEXT, seconds REAL);
CREATE INDEX IF NOT EXISTS waits_at ON waits (at);
CREATE TABLE IF NOT EXISTS starts (at REAL, pool TEXT, seconds REAL);
CREATE INDEX IF NOT EXISTS starts_at ON starts (at);
"""
_ADD = "INSERT INTO {0} VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET seconds = seconds + excluded.seconds"
_LONGEST = 60.0  # s that one sample may represent; nothing is known about times when the daemon did not run


@dataclass(frozen=True, slots=True)
class Past:
    """The history of a time span. Times are in seconds."""

    since: float
    until: float
    states: Mapping[tuple[int, str, str], float]  # (start of a minute, pool, state) -> machine seconds
    # (pool, service) -> node seconds, by the requested share of a node's CPU; service "" is the unrequested rest
    usage: Mapping[tuple[str, str], float]
    waits: tuple[tuple[float, str, float], ...]  # (end, service, seconds)
    starts: tuple[tuple[str, float], ...]  # (pool, seconds)


class History:
    """The file, and values not written to it yet. One event loop adds; ``write`` and ``read`` may run in threads."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        with closing(self._connect()) as database, database:
            database.executescript(_SCHEMA)
        self._last: float | None = None
        self._empty()

    def _empty(self) -> None:
        self._states: dict[tuple[int, str, str], float] = defaultdict(float)
        self._usage: dict[tuple[int, str, str], float] = defaultdict(float)
        self._waits: list[tuple[float, str, float]] = []
        self._starts: list[tuple[float, str, float]] = []

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=10)

    def record(self, now: float, states: Mapping[tuple[str, str], int], usage: Mapping[tuple[str, str], float]) -> None:
        """Add a sample. states: (pool, state) -> machines. usage: (pool, service) -> nodes, with fractions."""
        span = 0.0 if self._last is None else min(_LONGEST, max(0.0, now - self._last))
        self._last = now
        minute, hour = int(now // 60 * 60), int(now // 3600 * 3600)
        for (pool, state), count in states.items():
            self._states[minute, pool, state] += count * span
        for (pool, service), share in usage.items():
            self._usage[hour, pool, service] += share * span

    def waited(self, now: float, service: str, seconds: float) -> None:
        """Record how long a Pod waited until it got a node or was deleted."""
        self._waits.append((now, service, seconds))

    def started(self, now: float, pool: str, seconds: float) -> None:
        """Record how many seconds after its request a machine became a node."""
        self._starts.append((now, pool, seconds))

    def take(self) -> tuple[list[tuple[int, str, str, float]], ...]:
        """Return the values to write, and clear them here."""
        states = [(*key, value) for key, value in self._states.items() if value]
        usage = [(*key, value) for key, value in self._usage.items() if value]
        taken = (states, usage, self._waits, self._starts)
        self._empty()
        return taken  # type: ignore[return-value]

    def write(self, taken: tuple[list[tuple[int, str, str, float]], ...], oldest: float) -> None:
        """Write values from ``take``, and remove those that ended before ``oldest``. Raises sqlite3.Error."""
        states, usage, waits, starts = taken
        with closing(self._connect()) as database, database:
            database.executemany(_ADD.format("states"), states)
            database.executemany(_ADD.format("usage"), usage)
            database.executemany("INSERT INTO waits VALUES (?, ?, ?)", waits)
            database.executemany("INSERT INTO starts VALUES (?, ?, ?)", starts)
            for table, column in (("states", "minute"), ("usage", "hour"), ("waits", "at"), ("starts", "at")):
                database.execute(f"DELETE FROM {table} WHERE {column} < ?", (oldest,))  # noqa: S608  names of ours

    def read(self, since: float, until: float) -> Past:
        """Return the history of a time span. Raises sqlite3.Error."""
        span = (since, until)
        with closing(self._connect()) as database:
            states = database.execute("SELECT * FROM states WHERE minute >= ? AND minute < ?", span).fetchall()
            usage = database.execute(
                "SELECT pool, service, SUM(seconds) FROM usage WHERE hour > ? AND hour < ? GROUP BY pool, service",
                (since - 3600, until),
            ).fetchall()
            waits = database.execute("SELECT * FROM waits WHERE at >= ? AND at < ? ORDER BY at", span).fetchall()
            starts = database.execute("SELECT pool, seconds FROM starts WHERE at >= ? AND at < ?", span).fetchall()
        return Past(
            since,
            until,
            {(minute, pool, state): seconds for minute, pool, state, seconds in states},
            {(pool, service): seconds for pool, service, seconds in usage},
            tuple(waits),
            tuple(starts),
        )
