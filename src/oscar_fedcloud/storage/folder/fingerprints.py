# SPDX-License-Identifier: Apache-2.0
"""Finds files whose content was replaced although size and modification time are the same (``cp -p``, ``rsync -t``).

The S3 server of a folder takes such a file for unchanged, and goes on showing the MD5 sum of the old content. The file
system shows another inode or time of change. So the sum is computed here where those differ from what the last listing
met, and before a file is processed whose modification time was set by hand.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from oscar_fedcloud.storage.rows import Row

_SET_BACK = 1_000_000_000  # ns between modification and change from which on the first was set by hand
_MOST = 1_000_000  # files
_CHUNK = 1024 * 1024


class _Met(NamedTuple):
    """A file as it was met."""

    shown: tuple[int, float, str]  # size, modification time and MD5 sum, by the server
    state: tuple[int, int]  # inode and time of change (ns)
    sum: str  # MD5 of the content
    verified: bool  # whether the sum was computed here, or is beyond doubt


class Fingerprints:
    """What is known of the files of one folder. Reads files; may be used from several threads."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._met: dict[tuple[str, str], _Met] = {}

    def corrected(self, row: Row) -> Row:
        """The row of a listing with the MD5 sum of what the file holds now."""
        return self._corrected(row, thorough=False)

    def verified(self, row: Row) -> Row:
        """The same for a file that is about to be processed, which may never have been met before."""
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
    """Where the file of an object lies."""
    return Path(root, bucket, key)


def _state(path: Path) -> os.stat_result | None:
    try:
        found = path.lstat()
    except (OSError, ValueError):  # gone, or a name that the server shows in another form
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _md5(path: Path) -> str:
    """The MD5 sum of a regular file, "" when it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
