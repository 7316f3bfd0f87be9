# SPDX-License-Identifier: BSD-2-Clause
"""Reads the files that people name: only regular files, of a bounded size, and scripts only where they may lie."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from typing import Union

Path = Union[str, "os.PathLike[str]"]

LARGEST_FDL = 16 * 1024 * 1024
"""Bytes of an FDL file."""

LARGEST_SCRIPT = 2 * 1024 * 1024
"""Bytes of a script's file that are read; how large a script may be is said by its field."""

FDL_NAMES = "fdl.yml or NAME.fdl.yml, or with the endings yaml or json"
"""What FDL files in a folder are called, in words."""

_FDL_NAME = re.compile(r"(.+\.)?fdl\.(yml|yaml|json)")
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class OutsideError(OSError):
    """A script lies in none of the folders in which it may lie."""


def read_file(path: Path, largest: int) -> bytes:
    """Return the content of a regular file of at most so many bytes. Raises OSError whose ``strerror`` says why not."""
    try:
        _demand_regular(os.stat(path))
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _demand_regular(os.fstat(file.fileno()))  # it may be another one by now
            content = file.read(largest + 1)
    except ValueError as error:  # a NUL or half a character in the path
        raise OSError(errno.EINVAL, f"the path is not valid: {error}") from None
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest} bytes")
    return content


def _demand_regular(status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no file')}")


def read_script(fdl: Path, script: str, folders: Sequence[Path] | None = None) -> str:
    """Return the script at a path relative to an FDL file, or absolute.

    folders: where it may lie in addition to the FDL file's own folder, after all links are followed; None is anywhere.
    Raises OSError, OutsideError among them, and UnicodeDecodeError.
    """
    home = os.path.dirname(os.path.abspath(fdl))
    path = os.path.join(home, script)
    if folders is not None and not lies_in(path, (home, *folders)):
        raise OutsideError(errno.EACCES, "it lies outside the folder of the FDL file")
    return read_file(path, LARGEST_SCRIPT).decode("utf-8")


def is_outside(fdl: Path, script: str) -> bool:
    """Whether a script lies outside the folder of its FDL file."""
    home = os.path.dirname(os.path.abspath(fdl))
    return not lies_in(os.path.join(home, script), (home,))


def _raise(error: OSError) -> None:
    raise error


def lies_in(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path is below one of the folders after all links are followed. A path that is not valid is not."""
    try:
        real = os.path.realpath(path)
        return any(os.path.commonpath((real, home)) == home for home in map(os.path.realpath, folders))
    except ValueError:
        return False


def fdl_files(folder: Path) -> list[str]:
    """Return the paths of all FDL files in a folder and the folders below it, in order. Raises OSError.

    A folder below it that cannot be read is an error: services that are not seen might be taken for removed.
    """
    found = [
        os.path.join(where, name)
        for where, _folders, names in os.walk(folder, onerror=_raise)
        for name in names
        if _FDL_NAME.fullmatch(name)
    ]
    return sorted(found)
