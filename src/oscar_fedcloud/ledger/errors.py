# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the ledger, and which failures are the fault of one row."""

from __future__ import annotations

from sqlalchemy import exc


class LedgerError(Exception):
    """Base of all errors of the ledger."""


class LedgerUnavailable(LedgerError):
    """The database cannot be reached or cannot store (connection lost, disk full, closed). Trying again later may help.

    After a write that raised this it is unknown whether the write took place, if the connection broke during the commit.
    """


class StateError(LedgerError):
    """The run does not exist, or its state does not allow what was asked."""


# SQLSTATE classes that blame the values of a row: data exception, integrity violation, program limit exceeded.
_ROW_CLASSES = ("22", "23", "54")


def is_row_error(error: Exception) -> bool:
    """Whether a failed statement is the fault of the values in it, so that other rows can still be stored."""
    if not isinstance(error, exc.DBAPIError):
        return isinstance(error, (ValueError, TypeError, OverflowError))  # UnicodeError is a ValueError
    if error.connection_invalidated:
        return False
    if (state := getattr(error.orig, "sqlstate", None)) is not None:
        return str(state).startswith(_ROW_CLASSES)
    return isinstance(error, (exc.DataError, exc.IntegrityError, exc.InterfaceError, exc.ProgrammingError))
