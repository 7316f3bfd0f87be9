# SPDX-License-Identifier: Apache-2.0
"""Read and write files in a Job's folder, which the Job's user may have replaced by anything.

Nothing here waits for a pipe, follows a link, or reads without a limit. Standard library only: the shim uses it too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat


def open_regular(path: str | os.PathLike[str]) -> int | None:
    """Return a descriptor for reading a regular file, or None if there is none. Raises PermissionError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes | None:
    """Return at most ``limit`` + 1 bytes of a regular file, so that excess is visible; None if there is none."""
    try:
        file = open_regular(path)
    except PermissionError:
        return None
    if file is None:
        return None
    with open(file, "rb") as content:
        return content.read(limit + 1)


def is_regular(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a regular file."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def create(path: str, *, append: bool = False) -> int:
    """Return a descriptor for writing a new file, replacing whatever exists. Raises OSError."""
    if not (append and is_regular(path)):
        remove(path)
    mode = os.O_APPEND if append else os.O_EXCL
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | mode, 0o600)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file, a link or a folder if it exists."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            os.unlink(path)
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(path, ignore_errors=True)
