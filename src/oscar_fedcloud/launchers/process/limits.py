# SPDX-License-Identifier: Apache-2.0
"""Limits of a Job on this machine: a cgroup (v2) if one is delegated, else a check of its processes.

Host mode is for one user's trusted scripts: these limits contain mistakes, they are not a security boundary. Standard
library only, because the shim uses it too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LEAF = "oscar-invoker"  # the invoker's own cgroup: a cgroup with controllers for its children may contain no processes


def delegated_cgroup(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> str:
    """Prepare and return the cgroup for the cgroups of Jobs, or "" (no cgroup v2, not delegated, or shared).

    A cgroup is delegated if systemd has set the attribute ``user.delegate``, or if it is writable without being root:
    https://systemd.io/CGROUP_DELEGATION/
    """
    try:
        with open(own, encoding="ascii") as file:
            path = next(line[3:].strip("/\n") for line in file if line.startswith("0::"))
        here = os.path.join(root, path)
        for folder in (here, os.path.dirname(here)):
            if _is_delegated(folder) and "memory" in _read(f"{folder}/cgroup.controllers").decode().split():
                if folder == here:
                    _move_aside(folder)
                _write(f"{folder}/cgroup.subtree_control", "+memory")
                with contextlib.suppress(OSError):  # without the cpu controller, niceness remains
                    _write(f"{folder}/cgroup.subtree_control", "+cpu")
                return folder
    except (OSError, StopIteration):
        pass
    return ""


def _is_delegated(folder: str) -> bool:
    if not os.access(f"{folder}/cgroup.procs", os.W_OK):
        return False
    if os.geteuid() != 0:
        return True
    with contextlib.suppress(OSError):
        return os.getxattr(folder, "user.delegate") == b"1"
    return False


def _move_aside(folder: str) -> None:
    """Move this process into a child cgroup. Raises OSError if other processes are in ``folder``."""
    if _read(f"{folder}/cgroup.procs").split() != [str(os.getpid()).encode()]:
        raise OSError("other processes share the cgroup")
    os.makedirs(f"{folder}/{_LEAF}", exist_ok=True)
    _write(f"{folder}/{_LEAF}/cgroup.procs", str(os.getpid()))


def shares_cpu(folder: str) -> bool:
    """Return whether cgroups in this one can have a CPU weight."""
    return bool(folder) and b"cpu" in _read(f"{folder}/cgroup.subtree_control").split()


def make_cgroup(parent: str, job: str, memory: int, cpu: float) -> str:
    """Create the cgroup of a Job and return its path. Raises OSError."""
    folder = f"{parent}/{job}"
    os.makedirs(folder, exist_ok=True)
    if memory:
        _write(f"{folder}/memory.max", str(memory))
        with contextlib.suppress(OSError):  # swap accounting may be off
            _write(f"{folder}/memory.swap.max", "0")
        _write(f"{folder}/memory.oom.group", "1")
    if shares_cpu(parent):
        _write(f"{folder}/cpu.weight", str(min(10000, max(1, round(100 * cpu)))))
    return folder


def killed_in_cgroup(folder: str) -> bool:
    """Return whether the kernel killed a process in this cgroup because its memory limit was reached."""
    events = dict(line.split() for line in _read(f"{folder}/memory.events").splitlines())
    return int(events.get(b"oom_kill", 0)) > 0


def can_watch_memory() -> bool:
    """Return whether this kernel lists the children of processes (CONFIG_PROC_CHILDREN)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def descendants(pid: int | str = "self") -> Iterator[int]:
    """Yield all descendants of a process. Orphans among them are adopted by the nearest subreaper."""
    children: list[bytes] = []
    with contextlib.suppress(OSError):  # ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            children += _read(f"/proc/{pid}/task/{thread}/children").split()
    for child in children:
        yield int(child)
        yield from descendants(int(child))


def signal_all(pids: Sequence[int], number: int) -> None:
    """Send a signal to the processes that still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def exceeds(pids: Sequence[int], limit: int) -> bool:
    """Return whether processes together use more memory. RSS is cheap but counts shared pages twice; PSS does not."""
    return _total(pids, _resident) > limit and _total(pids, _proportional) > limit


def _total(pids: Sequence[int], of: Callable[[int], int]) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):  # ended meanwhile
            total += of(pid)
    return total


def _resident(pid: int) -> int:
    return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE


def _proportional(pid: int) -> int:
    return int(_read(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")[2].split()[0]) * 1024


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
