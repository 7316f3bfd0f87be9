# SPDX-License-Identifier: Apache-2.0
"""A small supervisor: keeps a chain of processes running in order, and ends them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oscar_fedcloud.runtime.waiting import wait
from oscar_fedcloud.standalone.embedded_store import is_listening

FIRST_PAUSE = 0.5  # s before the first restart; doubled with each crash
LONGEST_PAUSE = 30.0  # s
STEADY = 60.0  # s of uptime after which a crash counts as the first again
GRACE = 30.0  # s from SIGTERM to SIGKILL
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class SupervisedProcess:
    """One process to keep running. It is up when it listens on ``port`` of the loopback address."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    port: int


@dataclass(slots=True)
class Health:
    """The state of a part: its process id (0 if it is not running) and the number of restarts."""

    pid: int = 0
    restarts: int = 0


class Supervisor:
    """Runs parts until stopped. A part is started when the previous one is up."""

    def __init__(self, parts: Sequence[SupervisedProcess], report: Callable[[Mapping[str, Health]], None]) -> None:
        self._parts = parts
        self._health = {part.name: Health() for part in parts}
        self._report = report

    async def run(self, stop: asyncio.Event) -> None:
        """Keep all parts running until ``stop`` is set; return when all have ended."""
        ends: list[tuple[asyncio.Event, asyncio.Task[None]]] = []
        async with asyncio.TaskGroup() as group:
            for part in self._parts:
                end = asyncio.Event()
                ends.append((end, group.create_task(self._keep(part, end))))
                await _until_up(part, stop)
            await stop.wait()
            for end, task in reversed(ends):
                end.set()
                await task

    async def _keep(self, part: SupervisedProcess, end: asyncio.Event) -> None:
        pause = FIRST_PAUSE
        clock = asyncio.get_running_loop().time
        while not end.is_set():
            began = clock()
            process = await self._start(part)
            if await _ended(process, end):
                pause = FIRST_PAUSE if clock() - began > STEADY else pause
                _say(f"{part.name} ended with {_how(process.returncode)}, starts again in {pause:g} s; see {part.log}")
                self._health[part.name].restarts += 1
                self._tell(part, 0)
                await _pause(end, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                await _terminate(process)
        self._tell(part, 0)

    async def _start(self, part: SupervisedProcess) -> asyncio.subprocess.Process:
        with part.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *part.command,
                env=dict(part.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the supervisor, which ends the parts in order
                preexec_fn=_end_with_parent,
            )
        self._tell(part, process.pid)
        return process

    def _tell(self, part: SupervisedProcess, pid: int) -> None:
        self._health[part.name].pid = pid
        self._report(self._health)


def _end_with_parent() -> None:
    """Ask the kernel (Linux), in the child, for SIGTERM when the supervisor dies."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def _ended(process: asyncio.subprocess.Process, end: asyncio.Event) -> bool:
    """Wait for the process or for ``end``; return whether the process ended by itself."""
    waits = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(end.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    return not end.is_set()


async def _terminate(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_up(part: SupervisedProcess, stop: asyncio.Event) -> None:
    while not (stop.is_set() or is_listening(part.port)):
        await _pause(stop, 0.05)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    await wait(stop, seconds)


def _how(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def rotate(log: Path, limit: int = 10 * 1024 * 1024) -> None:
    """Rename a log larger than ``limit`` bytes; one older log is kept."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > limit:
            os.replace(log, log.with_name(log.name + ".1"))
