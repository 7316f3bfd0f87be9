# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: who holds a port of this machine, from /proc."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import Any

from .ports import Port

_LISTENING = {"tcp": "0A", "udp": "07"}  # states TCP_LISTEN and TCP_CLOSE, which is what unconnected UDP sockets have

NOBODY = {"process": "", "unit": "", "local_only": False}


def holder(port: Port) -> dict[str, Any]:
    """Process and systemd unit that hold the port, empty where unknown, and whether only this machine can reach it."""
    found = [entry for name in (port.protocol, port.protocol + "6") for entry in _sockets(name, port)]
    pid = _owner({inode for _address, inode in found})
    return {
        "process": _read(f"/proc/{pid}/comm").strip() if pid else "",
        "unit": _unit(_read(f"/proc/{pid}/cgroup")) if pid else "",
        "local_only": bool(found) and all(_is_loopback(address) for address, _inode in found),
    }


def _sockets(table: str, port: Port) -> list[tuple[str, str]]:
    """Address, in the kernel's notation, and inode of each socket that listens on the port."""
    found = []
    for line in _read(f"/proc/net/{table}").splitlines()[1:]:
        fields = line.split()
        address, number = fields[1].split(":")
        if int(number, 16) == port.number and fields[3] == _LISTENING[port.protocol]:
            found.append((address, fields[9]))
    return found


def _is_loopback(words: str) -> bool:
    """Whether an address of /proc/net, which is words of four bytes in the machine's order, is one of the loopback."""
    groups = [int(words[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(words), 8)]
    address = ipaddress.ip_address(b"".join(groups))
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _owner(inodes: set[str]) -> int:
    """The process that has one of these sockets open, rather a daemon than the init that opened it; 0 if none."""
    links = {f"socket:[{inode}]" for inode in inodes}
    folders = Path("/proc").glob("[0-9]*/fd")
    return max((int(folder.parent.name) for folder in folders if not links.isdisjoint(_open_files(folder))), default=0)


def _open_files(folder: Path) -> set[str]:
    """What a process has open; not what it has just closed, and nothing if it belongs to another user."""
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                found.add(os.readlink(folder / name))
    return found


def _unit(cgroups: str) -> str:
    """The innermost systemd service in the text of /proc/PID/cgroup."""
    return (re.findall(r"([^/\n]+\.service)", cgroups) or [""])[-1]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
