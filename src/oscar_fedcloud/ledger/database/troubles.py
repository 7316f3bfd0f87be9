# SPDX-License-Identifier: Apache-2.0
"""Causes of database failures: determined from error codes, and described in one sentence."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from sqlalchemy import URL

from oscar_fedcloud.ledger.errors import LedgerUnavailable, cause_of

_LITTLE = 1024 * 1024  # bytes: with less free space, a write error means a full disk
_GO_ON = "what was acknowledged is kept"


class LedgerTrouble(StrEnum):
    """The cause of a database failure."""

    FULL = "full"
    READ_ONLY = "read_only"
    IO = "io"
    DAMAGED = "damaged"
    GONE = "gone"  # the file was removed or replaced
    AWAY = "away"  # cannot be reached, or reports no cause


# The low byte of SQLite's result codes, and PostgreSQL's SQLSTATEs.
_SQLITE = {
    13: LedgerTrouble.FULL,
    8: LedgerTrouble.READ_ONLY,
    10: LedgerTrouble.IO,
    11: LedgerTrouble.DAMAGED,
    26: LedgerTrouble.DAMAGED,
}
_VAGUE = (10, 14)  # cannot read or write, cannot open: the disk is examined for the cause
_SQLSTATE = {
    "53100": LedgerTrouble.FULL,
    "25006": LedgerTrouble.READ_ONLY,
    "58030": LedgerTrouble.IO,
    "XX001": LedgerTrouble.DAMAGED,
    "XX002": LedgerTrouble.DAMAGED,
}
_SENTENCES = {
    LedgerTrouble.FULL: "the disk of the ledger {place} is full: {go_on}, and work continues as soon as there is space",
    LedgerTrouble.READ_ONLY: (
        "the ledger {place} can be read only ({cause}): {go_on}, work continues once it can be written"
    ),
    LedgerTrouble.IO: "the disk of the ledger {place} fails ({cause}): {go_on}; look at the system's log",
    LedgerTrouble.DAMAGED: (
        "the ledger {place} is damaged ({cause}): stop the invoker and restore a backup; without one, move the file "
        "away and start with --new-ledger, by which everything that is in the inputs counts as processed"
    ),
    LedgerTrouble.GONE: (
        "the ledger {place} was removed or replaced while it was in use: restore it and restart the invoker"
    ),
    LedgerTrouble.AWAY: "the ledger's database does not answer or refuses: {cause}",
}


def trouble_of(error: Exception, url: URL) -> LedgerTrouble:
    """Return the cause of an error of the driver or SQLAlchemy."""
    cause = getattr(error, "orig", None) or error
    if (state := getattr(cause, "sqlstate", None)) is not None:
        return _SQLSTATE.get(str(state), LedgerTrouble.AWAY)
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    found = _SQLITE.get(code, LedgerTrouble.AWAY)
    return _of_disk(url) or found if code in _VAGUE else found


def unavailable(error: Exception, url: URL) -> LedgerUnavailable:
    """Return the ledger's error for an error of the database."""
    return told(trouble_of(error, url), url, cause_of(error))


def told(trouble: LedgerTrouble, url: URL, cause: str = "") -> LedgerUnavailable:
    """Return the error that describes the cause in one sentence."""
    sentence = _SENTENCES[trouble].format(place=place_of(url), cause=cause, go_on=_GO_ON)
    return LedgerUnavailable(sentence, trouble.value)


def place_of(url: URL) -> str:
    """Return the database for display: a file, or a URL without its password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def _of_disk(url: URL) -> LedgerTrouble | None:
    """Return the problem of a SQLite file's file system, or None if there seems to be none."""
    try:
        disk = os.statvfs(Path(str(url.database)).parent)
    except OSError:
        return None
    if disk.f_flag & os.ST_RDONLY:
        return LedgerTrouble.READ_ONLY
    return LedgerTrouble.FULL if disk.f_bavail * disk.f_frsize < _LITTLE else None
