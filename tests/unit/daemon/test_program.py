# SPDX-License-Identifier: Apache-2.0
"""The life of a daemon's process: in which order it starts and stops, what signals do, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from oscar_fedcloud.config import ConfigError
from oscar_fedcloud.daemon import program
from oscar_fedcloud.daemon.process import lock_data
from oscar_fedcloud.daemon.program import Program, Service


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    before = gc.get_threshold()
    with capture_logs():
        yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        yield listener


class Work:
    """A daemon's work, which notes what is asked of it."""

    def __init__(self, folder: Path, story: Callable[[], Awaitable[None]], error: Exception | None = None) -> None:
        self.steps: list[str] = []
        self.story = story
        self.error = error
        self.program = Program("oscar-worker", folder, "127.0.0.1", 0, self.open, (OSError,))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Service]:
        self.steps.append("open")
        try:
            yield Service(answer, self.start, reload=self.reload, settled=self.story)
        finally:
            self.steps.append("stop")

    async def start(self) -> None:
        self.steps.append("start")
        if self.error:
            raise self.error

    async def reload(self) -> None:
        self.steps.append("reload")
        raise RuntimeError("nobody thought of this")


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""


def raising(number: signal.Signals) -> Callable[[], Awaitable[None]]:
    async def story() -> None:
        os.kill(os.getpid(), number)

    return story


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals, tmp_path: Path, manager: socket.socket) -> None:
    work = Work(tmp_path, raising(number))
    assert program.run(work.program) == 0
    assert work.steps == ["open", "start", "stop"]
    assert [manager.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


def test_a_reload_that_fails_ends_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            steps = len(work.steps)
            async with asyncio.timeout(60):
                while len(work.steps) == steps:  # noqa: ASYNC110  read by this test alone
                    await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    work = Work(tmp_path, story)
    assert program.run(work.program) == 0
    assert work.steps == ["open", "start", "reload", "reload", "stop"]


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError("no such port"), "no such port"), (RuntimeError("of no kind"), "RuntimeError: of no kind")],
)
def test_a_start_that_fails_stops_and_says_so_in_one_sentence(
    error: Exception, words: str, tmp_path: Path, manager: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Work(tmp_path, raising(signal.SIGTERM), error)
    assert program.run(work.program) == 1
    assert work.steps == ["open", "start", "stop"]
    assert manager.recv(100) == b"STOPPING=1"
    assert capsys.readouterr().err == f"oscar-worker: cannot run: {words}\n"


@pytest.mark.parametrize("error", [ConfigError("a bad word"), ModuleNotFoundError("none", name="none")])
def test_what_the_caller_explains_is_passed_on(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        program.run(Work(tmp_path, raising(signal.SIGTERM), error).program)


def test_one_process_holds_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "set_up_logging", lambda level: None)  # that of the tests stays
    work = Work(tmp_path, raising(signal.SIGTERM))
    with lock_data(tmp_path, "worker.lock"):
        assert program.main(work.program, "error") == 1
    assert not work.steps
    assert capsys.readouterr().err == f"oscar-worker: another worker runs on {tmp_path}\n"


def test_garbage_is_not_looked_for_among_what_the_start_left(tmp_path: Path) -> None:
    gc.unfreeze()

    async def story() -> None:
        assert not gc.get_freeze_count()
        asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)

    assert program.run(Work(tmp_path, story).program) == 0
    assert gc.get_freeze_count()
