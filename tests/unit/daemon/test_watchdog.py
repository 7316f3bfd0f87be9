# SPDX-License-Identifier: Apache-2.0
"""The word of the daemons with the service manager's watchdog."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from oscar_fedcloud.daemon.process import tell_watchdog


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


async def test_it_is_told_again_and_again(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    task = asyncio.create_task(tell_watchdog())
    for _ in range(3):
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
    assert not task.done()
    task.cancel()


async def test_without_a_watchdog_nothing_is_told(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await tell_watchdog()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


async def test_a_manager_that_is_away_ends_nothing(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    address = manager.getsockname()
    manager.close()
    os.unlink(address)
    task = asyncio.create_task(tell_watchdog())
    await asyncio.sleep(0.1)  # in which it must not end
    assert not task.done()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(address)
        again.settimeout(30)
        assert await asyncio.to_thread(again.recv, 100) == b"WATCHDOG=1"
    task.cancel()
