# SPDX-License-Identifier: Apache-2.0
"""The writing connection: transactions, and what to do when the database goes away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from oscar_fedcloud.ledger.database.troubles import unavailable
from oscar_fedcloud.ledger.errors import is_row_error

T = TypeVar("T")


class WritingConnection:
    """Used by one thread. After a failure of the database it is made anew for the next transaction."""

    def __init__(self, engine: Engine, guard: Callable[[], None] | None = None) -> None:
        """guard: raises LedgerUnavailable when nothing may be written; asked before each transaction."""
        self.failed = False  # whether the last transaction failed by the database's fault
        self._engine = engine
        self._guard = guard
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._connection: Connection | None = None
        self._committing = False  # whether the current transaction has come to its commit

    def run(self, work: Callable[[Connection], T], *, repeatable: bool = False) -> T:
        """Run work in a transaction. Raises LedgerUnavailable; the errors of ``work`` itself pass through.

        If the connection turns out to have died while it was idle, the work is done on a new one. repeatable: doing it
        twice does no harm, so that it may be repeated even when the fate of the first commit is unknown.
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
        """Whether the connection has gone, as against a database that says no."""
        if isinstance(error, DBAPIError):
            return error.connection_invalidated
        if self._connection is None or self._connection.invalidated:
            return True
        return self._engine.dialect.is_disconnect(cast("Any", error), self._connection.connection, None)
