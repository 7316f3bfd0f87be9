# SPDX-License-Identifier: Apache-2.0
"""A Job's log on disk, of limited size and readable while it is written. Standard library only: the shim writes it.

``log`` holds the first half of the limit. Further output goes to ``log.1``, ``log.2`` … of a quarter each, of which the
newest two are kept.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping

from . import files

_CHUNK = 64 * 1024
_GAP = b"\n[the log was too long: a part in the middle is left out]\n"


class CappedLog:
    """The writing end. ``limit`` is in bytes. Output that cannot be written because the disk is full is dropped."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._part = 0
        self._room, self._quarter = max(1, limit // 2), max(1, limit // 4)
        self._file = self._open()

    def _open(self) -> int:
        return files.create(_path(self._folder, self._part))

    def write(self, data: bytes) -> None:
        """Append data. The oldest part of the tail is removed if there is no room."""
        with contextlib.suppress(OSError):
            self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            if self._room <= 0:
                self._turn()
            written = os.write(self._file, data[: self._room])
            self._room -= written
            data = data[written:]

    def _turn(self) -> None:
        os.close(self._file)
        self._part += 1
        self._file = self._open()
        self._room = self._quarter
        if self._part > 2:
            files.remove(_path(self._folder, self._part - 2))


def _path(folder: str, part: int) -> str:
    return f"{folder}/log.{part}" if part else f"{folder}/log"


def read_log(folder: str, offset: int = 0) -> tuple[Iterator[bytes], int]:
    """Return the log from an offset in chunks, and the offset of its end. Raises OSError if the folder does not exist.

    Offsets count all output, including removed parts, which are replaced by ``_GAP``.
    """
    numbers = sorted(int(name[4:]) for name in os.listdir(folder) if name.startswith("log.") and name[4:].isdigit())
    sizes = {part: _size(folder, part) for part in (0, *numbers)}
    quarter = max(1, sizes[0] // 2)  # as in CappedLog: if there are parts, the first is full
    starts = {part: sizes[0] + (part - 1) * quarter if part else 0 for part in sizes}
    last = max(sizes)
    return _chunks(folder, offset, sizes, starts), starts[last] + sizes[last]


def _size(folder: str, part: int) -> int:
    try:
        found = os.lstat(_path(folder, part))
    except OSError:  # removed meanwhile
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _chunks(folder: str, offset: int, sizes: Mapping[int, int], starts: Mapping[int, int]) -> Iterator[bytes]:
    known = 0  # end of the contiguous part
    for part, size in sizes.items():
        if starts[part] > known and starts[part] > offset:
            yield _GAP
        known = starts[part] + size
        skip = max(0, offset - starts[part])
        if skip < size:
            yield from _read(_path(folder, part), skip, size - skip)


def _read(path: str, skip: int, size: int) -> Iterator[bytes]:
    with contextlib.suppress(PermissionError):
        if (opened := files.open_regular(path)) is None:  # the part may have been removed meanwhile
            return
        with open(opened, "rb") as file:
            file.seek(skip)
            while chunk := file.read(min(_CHUNK, size)):
                size -= len(chunk)
                yield chunk
