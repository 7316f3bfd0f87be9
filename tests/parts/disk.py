# SPDX-License-Identifier: Apache-2.0
"""A small disk of its own for a server's data, which a test fills, breaks and repairs. Needs root and a loop device."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

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
