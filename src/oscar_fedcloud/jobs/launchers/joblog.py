# SPDX-License-Identifier: Apache-2.0
"""A Job's log on disk: of bounded size, and readable while it is written. Standard library only: the shim writes it.

``log`` holds the first half of what is allowed. What comes after it goes to ``log.1``, ``log.2`` … of a quarter each,
of which the newest two are kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from . import files

_CHUNK = 64 * 1024
_GAP = b"\n[the log was too long: a part in the middle is left out]\n"


class CappedLog:
    """The writing end; ``limit`` in bytes. What cannot be written, because the disk is full, is left out."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._part = 0
        self._room, self._quarter = max(1, limit // 2), max(1, limit // 4)
        self._file = self._open()

    def _open(self) -> int:
        return files.create(_path(self._folder, self._part))

    def write(self, data: bytes) -> None:
        """Append; the oldest part of the tail goes when there is no room."""
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


def read_log(folder: str, tail: int | None = None) -> Iterator[bytes]:
    """The log in chunks, or its last ``tail`` bytes."""
    parts = sorted(int(name[4:]) for name in os.listdir(folder) if name.startswith("log.") and name[4:].isdigit())
    paths = [path for path in (_path(folder, part) for part in (0, *parts)) if files.is_regular(path)]
    skip = 0 if tail is None else max(0, sum(os.path.getsize(path) for path in paths) - tail)
    for index, path in enumerate(paths):
        if index == 1 and parts[0] > 1 and not skip:
            yield _GAP
        with contextlib.suppress(PermissionError):
            if (opened := files.open_regular(path)) is None:  # a part may have been let go meanwhile
                continue
            with open(opened, "rb") as file:
                file.seek(skip)
                skip = max(0, skip - os.fstat(file.fileno()).st_size)
                while chunk := file.read(_CHUNK):
                    yield chunk
