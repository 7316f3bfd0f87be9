# SPDX-License-Identifier: Apache-2.0
"""Errors of the ledger, and which failures are caused by a single row."""

from __future__ import annotations


class LedgerError(Exception):
    """Base of all errors of the ledger."""


class LedgerUnavailable(LedgerError):
    """The database is unreachable or cannot store (connection lost, disk full, closed). A later retry may succeed.

    If the connection broke during a commit, it is unknown whether that write took effect. ``kind`` is a
    ``LedgerTrouble``.
    """

    def __init__(self, message: str, kind: str = "away") -> None:
        super().__init__(message)
        self.kind = kind


class LedgerLost(LedgerError):
    """The ledger is not the one that the site used before; the message says how to proceed."""


class BadValue(LedgerError):
    """A value can be neither stored nor looked up: a number that is too large, a text with NUL."""


class StateError(LedgerError):
    """The run does not exist, or its state does not allow the requested operation."""


# SQLSTATE classes for errors in the values of a row: data exception, integrity violation, program limit exceeded.
_ROW_CLASSES = ("22", "23", "54")
_ROW_ERRORS = {"DataError", "IntegrityError", "InterfaceError", "ProgrammingError"}


def is_row_error(error: Exception) -> bool:
    """Return whether a failed statement is caused by its values, so that other rows can still be stored.

    Args:
        error: from SQLAlchemy, the driver, or Python (text that cannot be encoded, a number that is too large).
    """
    if getattr(error, "connection_invalidated", False):
        return False
    cause = getattr(error, "orig", error)
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return str(state).startswith(_ROW_CLASSES)
    return isinstance(cause, (ValueError, TypeError, OverflowError)) or type(cause).__name__ in _ROW_ERRORS


def cause_of(error: Exception) -> str:
    """Return the database's own description of a failure, without the statement and the values."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).splitlines()
    return lines[0][:300] if lines else type(cause).__name__
