# SPDX-License-Identifier: Apache-2.0
"""Migrates a database to the newest schema."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import OperationalError, ProgrammingError

from oscar_fedcloud.ledger.database import identity
from oscar_fedcloud.ledger.database.tables import SCHEMA_VERSION
from oscar_fedcloud.ledger.errors import LedgerError

_LOCK = 0x6F736361  # any fixed number: the advisory lock of migrations


def ensure_schema(engine: Engine) -> bool:
    """Migrate the database if necessary; return True if it was migrated. Alembic is loaded only when needed.

    If several processes start at the same time, one migrates and the others wait for it.
    """
    with engine.connect() as connection:
        if current_version(connection) == SCHEMA_VERSION:
            return False
    with engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE, which is the lock
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = current_version(connection)
        if found == SCHEMA_VERSION:
            return False
        _migrate(connection)
        if found is not None:  # it has been used by its site with an earlier version
            identity.make(connection)
            identity.accept(connection, time.time())
    return True


def current_version(connection: Connection) -> str | None:
    """Return the schema version of the database, or None if it is empty."""
    try:
        with connection.begin_nested():
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except (OperationalError, ProgrammingError):
        if inspect(connection).has_table("alembic_version"):
            raise
        return None


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, SCHEMA_VERSION)
    except CommandError as error:
        found = current_version(connection)
        message = f"the ledger has schema {found!r}, made by a newer program; this one knows {SCHEMA_VERSION!r}"
        raise LedgerError(message) from error
