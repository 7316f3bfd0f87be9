# SPDX-License-Identifier: Apache-2.0
"""A control group of its own for each virtual machine, so that no kubelet sees the pods of another."""

from __future__ import annotations

import os
import signal
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
    """Kill whatever is in the group, and remove it with all that is below."""
    wait_until(f"the processes of {name} end", lambda: all(map(_try_remove, _groups(name))))


def _kill(group: Path) -> None:
    for process in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


def _try_remove(group: Path) -> bool:
    for child in _children(group):
        _try_remove(child)
    with suppress(FileNotFoundError):
        _kill(group)
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def _children(group: Path) -> list[Path]:
    return [child for child in group.iterdir() if child.is_dir()] if group.exists() else []


def _groups(name: str) -> list[Path]:
    """The group's folder in every hierarchy of this machine (cgroup v2 has one, v1 one for each controller)."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(fields[1], f"oscar-site-{name}") for fields in mounts if fields[2] in ("cgroup", "cgroup2")]
