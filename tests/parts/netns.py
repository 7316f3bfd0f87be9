# SPDX-License-Identifier: Apache-2.0
"""Machines that are network namespaces, with a firewall on the way to them, as a cloud site has it.

    outside (10.77.0.129) ── way ──┬── one (10.77.0.2)
                                   └── two (10.77.0.3)

What goes from ``outside`` is routed and can be filtered in ``way``; between the machines it is switched. All of it is
inside namespaces, so it does not touch the network of this machine. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ADDRESSES = {"outside": "10.77.0.129", "one": "10.77.0.2", "two": "10.77.0.3"}
MACHINES = ("one", "two")
_PREFIX = "oscar-test-"


@dataclass(frozen=True)
class Net:
    """The running namespaces. ``prefix`` begins their names."""

    prefix: str

    def command(self, place: str, *command: str | Path) -> list[str]:
        """A command that runs in a place."""
        return ["ip", "netns", "exec", self.prefix + place, *map(str, command)]

    def run(self, place: str, *command: str | Path, stdin: str = "") -> str:
        """Run a command in a place; what it prints."""
        done = subprocess.run(self.command(place, *command), input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def filter(self, place: str, *rules: str, hook: str = "input") -> None:
        """Replace the firewall of a place. Rules are of nftables, such as ``tcp dport 81 drop``."""
        lines = [f"type filter hook {hook} priority 0; policy accept;", *rules]
        table = f"table inet test {{ chain only {{ {chr(10).join(lines)}\n}}\n}}"
        self.run(place, "nft", "-f", "-", stdin=f"table inet test\ndelete table inet test\n{table}\n")

    def python(self, place: str, python: Path, folder: Path) -> Path:
        """A program that is this Python, in that place: an interpreter for Ansible."""
        file = folder / f"python-{place}"
        file.write_text(f'#!/bin/sh\nexec {" ".join(self.command(place, python))} "$@"\n', encoding="utf-8")
        file.chmod(0o755)
        return file


@contextmanager
def running_net() -> Iterator[Net]:
    """The namespaces, removed at the end with every process in them."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")):
        pytest.skip("network namespaces need root, ip (iproute2) and nft (nftables)")
    net = Net(f"{_PREFIX}{os.getpid()}-")
    _remove_leftovers()
    places = ("way", *ADDRESSES)
    try:
        for place in places:
            _ip("netns", "add", net.prefix + place)
        _connect(net)
        yield net
    finally:
        for place in places:
            _remove(net.prefix + place)


def _remove_leftovers() -> None:
    """Remove the namespaces of test runs that were killed."""
    for line in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines():
        name = line.split()[0]
        if name.startswith(_PREFIX) and not Path("/proc", name.removeprefix(_PREFIX).partition("-")[0]).exists():
            _remove(name)


def _remove(namespace: str) -> None:
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False).stdout
    for pid in pids.split():
        subprocess.run(["kill", "-KILL", pid], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _connect(net: Net) -> None:
    way = ["-n", net.prefix + "way"]
    _ip(*way, "link", "add", "site", "type", "bridge")
    for place, address in ADDRESSES.items():
        there = ["-n", net.prefix + place]
        _ip(*way, "link", "add", place, "type", "veth", "peer", "name", "eth0", "netns", net.prefix + place)
        _ip(*way, "link", "set", place, "up")
        _ip(*there, "address", "add", f"{address}/25", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip(*there, "link", "set", device, "up")
        _ip(*there, "route", "add", "default", "via", "10.77.0.130" if place == "outside" else "10.77.0.1")
    for machine in MACHINES:
        _ip(*way, "link", "set", machine, "master", "site")
    _ip(*way, "address", "add", "10.77.0.1/25", "dev", "site")
    _ip(*way, "address", "add", "10.77.0.130/25", "dev", "outside")
    _ip(*way, "link", "set", "site", "up")
    forward = "open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')"
    net.run("way", sys.executable, "-c", forward)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
