# SPDX-License-Identifier: Apache-2.0
"""Database connections: one that writes, a small pool that reads.

SQLite: WAL with ``synchronous=FULL`` (each commit is on disk when it returns); transactions ``BEGIN IMMEDIATE``, so
that a second process waits instead of failing. PostgreSQL: timeouts, so that a dead server is noticed.
"""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool

from oscar_fedcloud.ledger.database.troubles import place_of

BUSY_MILLISECONDS = 5000
_POSTGRESQL = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": f"-c lock_timeout={BUSY_MILLISECONDS} -c jit=off",  # compiling takes longer than any query here
    "application_name": "oscar-invoker",
}
# SQLite stores any bytes as text; by default reading them raises
_TEXT = partial(str, encoding="utf-8", errors="replace")
_SQLITE_WRITER = (
    f"PRAGMA busy_timeout={BUSY_MILLISECONDS}",
    "PRAGMA synchronous=FULL",
    "PRAGMA cache_size=-8000",
    "PRAGMA wal_autocheckpoint=8000",
)
_SQLITE_READER = (
    f"PRAGMA busy_timeout={BUSY_MILLISECONDS}",
    "PRAGMA cache_size=-500",
    "PRAGMA query_only=ON",
)


def writer_engine(url: str) -> Engine:
    """Return the engine for the only writing connection of this process."""
    if not is_sqlite(url):
        return create_engine(url, poolclass=NullPool, connect_args=dict(_POSTGRESQL))
    engine = _sqlite(url, _SQLITE_WRITER, poolclass=NullPool)
    event.listen(engine, "connect", _use_wal)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reader_engine(url: str) -> Engine:
    """Return the engine for reads from any thread, each statement in autocommit."""
    options: dict[str, Any] = {"pool_size": 2, "max_overflow": 8, "isolation_level": "AUTOCOMMIT"}
    if not is_sqlite(url):
        return create_engine(url, pool_pre_ping=True, connect_args=dict(_POSTGRESQL), **options)
    return _sqlite(url, _SQLITE_READER, **options)


def shut(engine: Engine) -> None:
    """Close the engine's connections; one in use is closed as soon as it is returned."""
    event.listen(engine.pool, "checkin", lambda _, record: record.invalidate())
    engine.dispose()


def is_sqlite(url: str) -> bool:
    """Return whether the URL names a SQLite file."""
    return make_url(url).get_backend_name() == "sqlite"


def shown(url: str) -> str:
    """Return the database for display: a file, or a URL without its password."""
    return place_of(make_url(url))


def _sqlite(url: str, pragmas: tuple[str, ...], **options: Any) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False}, **options)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver starts no transactions implicitly
        connection.text_factory = _TEXT
        for pragma in pragmas:
            connection.execute(pragma)

    return engine


def _use_wal(connection: Any, record: object) -> None:
    """Switch a new file to WAL. SQLite refuses instead of waiting if another process does so at the same moment."""
    end = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _begin_immediate(connection: Connection) -> None:
    connection.connection.cursor().execute("BEGIN IMMEDIATE")
