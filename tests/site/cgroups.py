# SPDX-License-Identifier: Apache-2.0
"""A control group of its own for each virtual machine, so that no kubelet sees the pods of another."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from run import wait_until


def enter(name: str) -> None:
    """Put the calling process, and what it starts, into the group of this name."""
    for group in _groups(name):
        group.mkdir(exist_ok=True)
        # The groups of cgroup v1's cpuset accept nobody before they have CPUs and memory.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((group.parent / setting).read_text())
        (group / "cgroup.procs").write_text(str(os.getpid()))


def remove(name: str) -> None:
    """Remove the group with all that is below, as soon as the last process has left it."""
    wait_until(f"the processes of {name} end", lambda: all(map(_try_remove, _groups(name))))


def clear(name: str) -> None:
    """Remove what an earlier life of the machine left below its group."""
    for group in _groups(name):
        for child in _children(group):
            _try_remove(child)


def _try_remove(group: Path) -> bool:
    for child in _children(group):
        _try_remove(child)
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def _children(group: Path) -> list[Path]:
    return [child for child in group.iterdir() if child.is_dir()] if group.exists() else []


def _groups(name: str) -> list[Path]:
    """The group's folder in every hierarchy of this machine (cgroup v2 has one, v1 one for each controller)."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(fields[1], f"oscar-site-{name}") for fields in mounts if fields[2] in ("cgroup", "cgroup2")]
