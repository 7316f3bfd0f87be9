# SPDX-License-Identifier: Apache-2.0
"""Checks whether a SQLite file is intact, and still the one that was opened."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL

from oscar_fedcloud.ledger.database.troubles import LedgerTrouble, told

CHECK_SECONDS = 5.0  # a ledger that takes longer is checked partially

_log = logging.getLogger(__name__)


def check_file(url: URL, seconds: float = CHECK_SECONDS) -> None:
    """Raise LedgerUnavailable if SQLite's ``quick_check`` finds an error within that time. A missing file is valid."""
    path = Path(str(url.database))
    if not path.exists():
        return
    problem = _problem(path, seconds)
    if problem:
        raise told(LedgerTrouble.DAMAGED, url, problem)


def _problem(path: Path, seconds: float) -> str:
    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            timer = threading.Timer(seconds, connection.interrupt)
            timer.start()
            try:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            finally:
                timer.cancel()
                timer.join()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            _log.warning("%s is large: it was checked for %g s only, and found sound so far", path, seconds)
            return ""
        return "" if _is_busy(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else " ".join(str(found).split())[:200]


def _is_busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN)


def same_file(url: URL) -> Callable[[], None]:
    """Return a function that raises LedgerUnavailable once the file has been replaced or removed."""
    path = str(url.database)
    first: list[tuple[int, int]] = []

    def check() -> None:
        try:
            found = os.stat(path)
        except OSError:
            raise told(LedgerTrouble.GONE, url) from None
        if not first:
            first.append((found.st_dev, found.st_ino))
        elif first[0] != (found.st_dev, found.st_ino):
            raise told(LedgerTrouble.GONE, url)

    return check
