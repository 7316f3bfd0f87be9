# SPDX-License-Identifier: Apache-2.0
"""Limits of a Job on this machine: a cgroup (v2) where one is delegated to us, else a look at its processes.

Host mode is for one user's trusted scripts: these limits keep mistakes in bounds, they are no walls. Standard library
only, because the shim uses it too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LEAF = "oscar-invoker"  # where the invoker itself goes: a cgroup with controllers for its children has no processes


def delegated_cgroup(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> str:
    """The cgroup in which we may make one for each Job, ready for that, or "" (no cgroup v2, not delegated, not alone).

    Delegated means that systemd says so by the attribute ``user.delegate``, or that the folder belongs to us though we
    are not root: https://systemd.io/CGROUP_DELEGATION/
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
    """Move ourselves into a cgroup below; OSError when others are in ``folder`` too."""
    if _read(f"{folder}/cgroup.procs").split() != [str(os.getpid()).encode()]:
        raise OSError("other processes share the cgroup")
    os.makedirs(f"{folder}/{_LEAF}", exist_ok=True)
    _write(f"{folder}/{_LEAF}/cgroup.procs", str(os.getpid()))


def shares_cpu(folder: str) -> bool:
    """Whether cgroups in this one can have a share of the processors."""
    return bool(folder) and b"cpu" in _read(f"{folder}/cgroup.subtree_control").split()


def make_cgroup(parent: str, job: str, memory: int, cpu: float) -> str:
    """The cgroup of a Job: its path. Raises OSError."""
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
    """Whether the kernel killed in this cgroup because its memory was used up."""
    events = dict(line.split() for line in _read(f"{folder}/memory.events").splitlines())
    return int(events.get(b"oom_kill", 0)) > 0


def can_watch_memory() -> bool:
    """Whether this kernel tells the children of processes (CONFIG_PROC_CHILDREN)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def descendants(pid: int | str = "self") -> Iterator[int]:
    """All processes below one. Orphans among them go to their nearest ancestor that is a subreaper."""
    children: list[bytes] = []
    with contextlib.suppress(OSError):  # ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            children += _read(f"/proc/{pid}/task/{thread}/children").split()
    for child in children:
        yield int(child)
        yield from descendants(int(child))


def signal_all(pids: Sequence[int], number: int) -> None:
    """Send a signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def exceeds(pids: Sequence[int], limit: int) -> bool:
    """Whether processes use more memory together. RSS is cheap to ask but counts shared pages again; PSS does not."""
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
