# SPDX-License-Identifier: Apache-2.0
"""Help for tests of the process launcher. Scripts prove by files what ran, and how often."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from parts.jobs import Store, service, spec_of
from parts.rclone_s3 import rclone_binary

from oscar_fedcloud.config import LauncherConfig
from oscar_fedcloud.domain.runs import Completion
from oscar_fedcloud.launchers.port import JobSpec
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher

CONFIG = LauncherConfig(
    rclone=str(rclone_binary()), path=(str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")
)
PATIENCE = 60.0  # s


@contextlib.asynccontextmanager
async def launching(folder: Path, config: LauncherConfig = CONFIG, **options: Any) -> AsyncIterator[ProcessLauncher]:
    """A launcher; the shims that still run in the end are killed, and their Jobs with them."""
    launcher = ProcessLauncher(folder, config, **{"grace": 2.0, **options})
    yield launcher
    await launcher.close()
    kill_shims(folder)


def make_job(store: Store, script: str, *, memory: str = "512Mi", **changes: Any) -> JobSpec:
    """The Job of a script, on an object of its own."""
    event = store.put(f"in/{time.time_ns()}", b"content")
    return replace(spec_of(store, service(script, memory=memory), event, log_bucket=""), **changes)


async def ended(launcher: ProcessLauncher) -> Completion:
    """The next completion."""
    async with asyncio.timeout(PATIENCE):
        async for completion in launcher.completions():
            return completion
    raise AssertionError("no completion")


async def content(path: Path) -> str:
    """What a file holds, as soon as it is there and holds something."""
    async with asyncio.timeout(PATIENCE):
        while not (text := _text(path)):  # noqa: ASYNC110  another process writes it
            await asyncio.sleep(0.05)
    return text


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def kill_shims(folder: Path) -> None:
    """Kill the processes that watch the Jobs of a launcher's folder."""
    for started in folder.glob("*/started"):
        if started.is_file() and not (started.parent / "status").exists():
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(started.read_text()), signal.SIGKILL)


def kill_shim(launcher: ProcessLauncher, job: str) -> None:
    """Kill the process that watches a Job."""
    os.kill(int((launcher.root / job / "started").read_text()), signal.SIGKILL)


def alive(pid: str) -> bool:
    """Whether a process runs (one that has ended and is not yet reaped does not)."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def log_of(launcher: ProcessLauncher, job: str, offset: int = 0) -> str:
    """A Job's log behind an offset."""
    found = launcher.log(job, offset)
    assert found is not None
    return b"".join(found.chunks).decode()


def command_lines() -> list[bytes]:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found
