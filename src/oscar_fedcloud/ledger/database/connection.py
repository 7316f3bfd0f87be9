# SPDX-License-Identifier: Apache-2.0
"""The writing connection: transactions, and recovery when the database becomes unavailable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from oscar_fedcloud.ledger.database.troubles import unavailable
from oscar_fedcloud.ledger.errors import is_row_error

T = TypeVar("T")


class WritingConnection:
    """The connection of the writer thread. After a failure of the database it is replaced for the next transaction."""

    def __init__(self, engine: Engine, guard: Callable[[], None] | None = None) -> None:
        """Initialise.

        Args:
            guard: raises LedgerUnavailable if nothing may be written; called before each transaction.
        """
        self.failed = False  # whether the last transaction failed because of the database
        self._engine = engine
        self._guard = guard
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._connection: Connection | None = None
        self._committing = False  # whether the current transaction has reached its commit

    def run(self, work: Callable[[Connection], T], *, repeatable: bool = False) -> T:
        """Run work in a transaction. Raises LedgerUnavailable; errors of ``work`` itself pass through.

        If the connection died while idle, the work is done on a new one.

        Args:
            repeatable: doing the work twice is harmless, so it may be repeated even if the outcome of the commit is
                unknown.
        """
        reused = self._connection is not None
        try:
            return self._once(work)
        except (SQLAlchemyError, self._driver_error) as error:
            if is_row_error(error):
                raise
            again = reused and self._is_broken(error) and (repeatable or not self._committing)
            self.close()
            if not again:
                self.failed = True
                raise unavailable(error, self._engine.url) from error
        return self.run(work, repeatable=repeatable)

    def _once(self, work: Callable[[Connection], T]) -> T:
        self._committing = False
        if self._connection is None:
            self._connection = self._engine.connect()
        if self._guard is not None:
            self._guard()
        with self._connection.begin():
            result = work(self._connection)
            self._committing = True
        self.failed = False
        return result

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _is_broken(self, error: Exception) -> bool:
        """Return whether the connection is lost, as opposed to an error reported by the database."""
        if isinstance(error, DBAPIError):
            return error.connection_invalidated
        if self._connection is None or self._connection.invalidated:
            return True
        return self._engine.dialect.is_disconnect(cast("Any", error), self._connection.connection, None)
