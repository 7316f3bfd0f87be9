# SPDX-License-Identifier: Apache-2.0
"""Ports for servers of tests, of which several processes start many at once."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket
from collections.abc import Iterator


def _ports() -> Iterator[int]:
    """Ports below those that the kernel gives to clients, 2,000 for each process of the tests, in turn."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")) % 10
    begin = secrets.randbelow(2_000)
    for number in itertools.count(begin):
        yield 10_000 + 2_000 * process + number % 2_000


_turn = _ports()


def free_port() -> int:
    """A TCP port of loopback that is free, and that nobody else takes before its server is there."""
    for port in _turn:
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always a next one")
