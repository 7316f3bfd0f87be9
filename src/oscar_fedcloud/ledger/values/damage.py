# SPDX-License-Identifier: Apache-2.0
"""Rows that could not be read as they are: told once, counted, and those that hold up work noted to be ended."""

from __future__ import annotations

import logging
import threading

from sqlalchemy import Connection, Engine

_MOST = 10_000  # rows that are remembered
_log = logging.getLogger(__name__)


class Damage:
    """What was found of damaged rows since the ledger was opened. Used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._stuck: dict[int, str] = {}  # number of a run that waits or runs -> what is wrong with it

    @property
    def rows(self) -> int:
        """How many damaged rows were met."""
        return len(self._known)

    def note(self, row: str, reason: str, stuck: int | None = None) -> None:
        """Count a row once. stuck: the number of its run, if nothing else would end it."""
        with self._lock:
            if row not in self._known and len(self._known) < _MOST:
                self._known.add(row)
                _log.warning("%s: %s", row, reason)
            if stuck is not None and len(self._stuck) < _MOST:
                self._stuck[stuck] = reason

    def take_stuck(self) -> dict[int, str]:
        """Return the runs that have to be ended, and forget them."""
        with self._lock:
            stuck, self._stuck = self._stuck, {}
        return stuck


def watched(engine: Engine, damage: Damage) -> Engine:
    """Return the engine with its own place for damaged rows."""
    return engine.execution_options(damage=damage)


def note(connection: Connection, row: str, reason: str, stuck: int | None = None) -> None:
    """``Damage.note`` for whoever has the connection."""
    found = connection.get_execution_options().get("damage")
    if found is not None:
        found.note(row, reason, stuck)
