# SPDX-License-Identifier: Apache-2.0
"""The supervisor, with small listening programs as its parts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from oscar_fedcloud.standalone import supervise
from oscar_fedcloud.standalone.embedded_store import free_port, is_listening
from oscar_fedcloud.standalone.supervise import Health, SupervisedProcess, Supervisor, rotate

# Listens on a port, writes to a diary when it begins and when SIGTERM ends it.
PROGRAM = """
import signal, socket, sys, time
name, port, diary = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def note(text):
    with open(diary, "a") as file:
        file.write(name + " " + text + "\\n")
def end(*_):
    note("ends")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
server = socket.create_server(("127.0.0.1", port))
note("begins")
print("hello from", name, flush=True)
while True:
    signal.pause()
"""


class Site:
    """Two parts, what the supervisor reports of them, and their diary."""

    def __init__(self, folder: Path) -> None:
        self.diary = folder / "diary"
        self.health: Mapping[str, Health] = {}
        self.parts = [self._part(folder, name) for name in ("first", "second")]
        self.supervisor = Supervisor(self.parts, self._report)

    def _part(self, folder: Path, name: str) -> SupervisedProcess:
        port = free_port()
        command = (sys.executable, "-c", PROGRAM, name, str(port), str(self.diary))
        return SupervisedProcess(name, command, os.environ, folder / f"{name}.log", port)

    def _report(self, health: Mapping[str, Health]) -> None:
        self.health = health

    def is_up(self) -> bool:
        return all(is_listening(part.port) for part in self.parts)

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(site.supervisor.run(stop))
    try:
        await until(site.is_up)
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  it is about other processes
            await asyncio.sleep(0.02)


async def test_parts_begin_in_order_and_end_in_reverse_order(site: Site) -> None:
    async with running(site):
        pids = [site.health[part.name].pid for part in site.parts]
        assert all(pids)
    assert site.lines() == ["first begins", "second begins", "second ends", "first ends"]
    assert [health.pid for health in site.health.values()] == [0, 0]
    assert site.parts[0].log.read_text() == "hello from first\n"


async def test_a_part_that_crashed_is_started_again_and_the_other_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE", 0.01)
    async with running(site):
        first, second = (site.health[part.name].pid for part in site.parts)
        os.kill(second, signal.SIGKILL)
        await until(lambda: site.health["second"].pid not in (0, second) and site.is_up())
        assert site.health["first"].pid == first
        assert (site.health["first"].restarts, site.health["second"].restarts) == (0, 1)
    assert site.lines().count("second begins") == 2
    assert "second ended with signal 9" in capsys.readouterr().err


async def test_stop_before_the_first_part_is_up_ends_it(site: Site) -> None:
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(site.supervisor.run(stop), 30)
    assert not is_listening(site.parts[1].port)
    assert "second begins" not in site.lines()


async def test_a_part_that_ignores_sigterm_is_killed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "GRACE", 0.1)
    async with running(site):
        os.kill(site.health["second"].pid, signal.SIGSTOP)
    assert site.lines()[-1] == "first ends"
    assert not site.is_up()


def test_a_log_that_grew_too_large_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    rotate(log)
    log.write_text("12345")
    rotate(log, limit=5)
    assert log.exists()
    rotate(log, limit=4)
    assert not log.exists()
    assert (tmp_path / "x.log.1").read_text() == "12345"
