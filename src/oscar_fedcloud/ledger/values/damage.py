# SPDX-License-Identifier: Apache-2.0
"""Damaged rows: reported once and counted; those that block work are recorded to be ended."""

from __future__ import annotations

import logging
import threading

from sqlalchemy import Connection, Engine

_MOST = 10_000  # rows that are recorded
_log = logging.getLogger(__name__)


class Damage:
    """The damaged rows found since the ledger was opened. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._stuck: dict[int, str] = {}  # number of a waiting or running run -> the damage

    @property
    def rows(self) -> int:
        """The number of damaged rows that were read."""
        return len(self._known)

    def note(self, row: str, reason: str, stuck: int | None = None) -> None:
        """Count a row once. ``stuck`` is the number of its run, if nothing else would end it."""
        with self._lock:
            if row not in self._known and len(self._known) < _MOST:
                self._known.add(row)
                _log.warning("%s: %s", row, reason)
            if stuck is not None and len(self._stuck) < _MOST:
                self._stuck[stuck] = reason

    def take_stuck(self) -> dict[int, str]:
        """Return the runs that must be ended, and clear the list."""
        with self._lock:
            stuck, self._stuck = self._stuck, {}
        return stuck


def watched(engine: Engine, damage: Damage) -> Engine:
    """Return the engine with a record of damaged rows."""
    return engine.execution_options(damage=damage)


def note(connection: Connection, row: str, reason: str, stuck: int | None = None) -> None:
    """Call ``Damage.note`` for the engine of this connection."""
    found = connection.get_execution_options().get("damage")
    if found is not None:
        found.note(row, reason, stuck)
