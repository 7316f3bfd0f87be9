# SPDX-License-Identifier: Apache-2.0
"""Detect files whose content was replaced without a change of size and modification time (``cp -p``, ``rsync -t``).

The S3 server of a folder considers such a file unchanged and keeps reporting the MD5 sum of the old content, but its
inode or change time differs. Therefore the sum is computed here if these differ from the last listing, and before a
file is processed whose modification time was set explicitly.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from oscar_fedcloud.storage.rows import Row

_SET_BACK = 1_000_000_000  # ns between modification and change from which the first counts as set explicitly
_MOST = 1_000_000  # files
_CHUNK = 1024 * 1024


class _Met(NamedTuple):
    """A file as it was last seen."""

    shown: tuple[int, float, str]  # size, modification time and MD5 sum from the server
    state: tuple[int, int]  # inode and time of change (ns)
    sum: str  # MD5 of the content
    verified: bool  # whether the sum was computed here or is certain


class Fingerprints:
    """Fingerprints of the files of one folder. Reads files. Thread-safe."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._met: dict[tuple[str, str], _Met] = {}

    def corrected(self, row: Row) -> Row:
        """Return the row of a listing with the MD5 sum of the current content."""
        return self._corrected(row, thorough=False)

    def verified(self, row: Row) -> Row:
        """Do the same for a file that is about to be processed and may not have been seen before."""
        return self._corrected(row, thorough=True)

    def _corrected(self, row: Row, thorough: bool) -> Row:
        found = _state(path_of(self.root, row.bucket, row.key)) if self.root else None
        if found is None:
            return row
        name, shown = (row.bucket, row.key), (row.size, row.modified.timestamp(), row.etag)
        before = self._met.get(name)
        state = (found.st_ino, found.st_ctime_ns)
        if before is None or before.shown != shown:
            before = _Met(shown, state, row.etag, found.st_ctime_ns - found.st_mtime_ns <= _SET_BACK)
        if before.state != state or (thorough and not before.verified):
            fresh = _md5(path_of(self.root, row.bucket, row.key)) or before.sum
            before = _Met(shown, state, fresh, verified=True)
        if len(self._met) >= _MOST:
            self._met.clear()
        self._met[name] = before
        return row._replace(etag=before.sum)


def path_of(root: str, bucket: str, key: str) -> Path:
    """Return the path of an object's file."""
    return Path(root, bucket, key)


def _state(path: Path) -> os.stat_result | None:
    try:
        found = path.lstat()
    except (OSError, ValueError):  # gone, or a name that the server shows in another form
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _md5(path: Path) -> str:
    """Return the MD5 sum of a regular file, or "" if it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
