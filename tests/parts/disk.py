# SPDX-License-Identifier: Apache-2.0
"""A small disk of its own for a server's data, which a test fills, breaks and repairs. Needs root.

``Disk`` needs a loop device as well; ``small_disk`` is memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SIZE = "96M"


class Disk:
    """An ext4 file system in a file, mounted at ``folder``. An error makes it read-only, as distributions set it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder.with_suffix(".img")
        folder.mkdir(parents=True)
        _run("truncate", "--size", _SIZE, str(self.image))
        _run("mkfs.ext4", "-q", "-m", "0", str(self.image))
        self.mount()

    def mount(self) -> None:
        """Mount it for writing."""
        _run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.folder))

    def unmount(self) -> None:
        """Unmount it; nothing may have a file open on it."""
        _run("umount", str(self.folder))

    def detach(self) -> None:
        """Unmount it as soon as nobody has a file open on it."""
        _run("umount", "--lazy", str(self.folder))

    def fill(self) -> None:
        """Leave no free block."""
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        filler.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        """Give the blocks back that ``fill`` took."""
        (self.folder / "filler").unlink()

    def fail(self) -> None:
        """Make the kernel find an error, so that the file system is read-only from now on, open files included."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.folder)).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("test", encoding="ascii")

    def repair(self) -> None:
        """Do what an administrator does then: unmount, check, mount."""
        self.unmount()
        checked = subprocess.run(["e2fsck", "-f", "-p", str(self.image)], capture_output=True, text=True, check=False)
        if checked.returncode > 1:  # 1: errors were corrected
            raise RuntimeError(f"e2fsck: {checked.stdout}{checked.stderr}")
        self.mount()


@contextmanager
def small_disk(folder: Path, size: str = "2m") -> Iterator[Path]:
    """Make a folder with a file system of that size. Skips the test where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "oscar-test", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("only root can mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on the disk of a folder; returns the file that takes it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def disks_can_be_mounted(scratch: Path) -> bool:
    """Return whether this machine lets us mount a disk."""
    if os.geteuid() != 0:
        return False
    try:
        disk = Disk(scratch / "probe")
        disk.unmount()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
