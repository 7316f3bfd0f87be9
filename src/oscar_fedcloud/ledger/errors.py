# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the ledger, and which failures are the fault of one row."""

from __future__ import annotations


class LedgerError(Exception):
    """Base of all errors of the ledger."""


class LedgerUnavailable(LedgerError):
    """The database cannot be reached or cannot store (connection lost, disk full, closed). Trying again later may help.

    If the connection broke during a commit, it is unknown whether that write took place. kind: a ``troubles.Trouble``.
    """

    def __init__(self, message: str, kind: str = "away") -> None:
        super().__init__(message)
        self.kind = kind


class LedgerLost(LedgerError):
    """The ledger is another one than the site worked with; the message says how to go on."""


class BadValue(LedgerError):
    """A value can neither be stored nor looked for: too large a number, a text with NUL."""


class StateError(LedgerError):
    """The run does not exist, or its state does not allow what was asked."""


# Errors that blame the values of a row. By SQLSTATE: data exception, integrity violation, program limit exceeded.
_ROW_CLASSES = ("22", "23", "54")
_ROW_ERRORS = {"DataError", "IntegrityError", "InterfaceError", "ProgrammingError"}


def is_row_error(error: Exception) -> bool:
    """Whether a failed statement is the fault of the values in it, so that other rows can still be stored.

    error: from SQLAlchemy, from the driver, or from Python (text that cannot be encoded, a number that is too large).
    """
    if getattr(error, "connection_invalidated", False):
        return False
    cause = getattr(error, "orig", error)
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return str(state).startswith(_ROW_CLASSES)
    return isinstance(cause, (ValueError, TypeError, OverflowError)) or type(cause).__name__ in _ROW_ERRORS


def cause_of(error: Exception) -> str:
    """Return what a database says of a failure, without the statement and the values."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).splitlines()
    return lines[0][:300] if lines else type(cause).__name__
