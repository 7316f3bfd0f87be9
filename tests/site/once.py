# SPDX-License-Identifier: Apache-2.0
"""Work that is done again only when its result is missing or what it is made from has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from run import fingerprint, write
from settings import SITE


@contextmanager
def making(target: Path, *made_from: str | Path) -> Iterator[bool]:
    """Whether the work is needed. It counts as done when the block ends well."""
    stamp = SITE / "done" / str(target.relative_to(SITE)).replace("/", "_")
    key = fingerprint(*made_from)
    needed = not (target.exists() and stamp.exists() and stamp.read_text() == key)
    if needed:
        stamp.unlink(missing_ok=True)
    yield needed
    if needed:
        write(stamp, key)


def stat(file: Path) -> str:
    """What differs when a large file was replaced, without reading it."""
    found = file.stat()
    return f"{file.name} {found.st_size} {found.st_mtime_ns}"
