# SPDX-License-Identifier: Apache-2.0
"""Background processes of the site. Each holds a lock while it lives, so that a process id is never mistaken."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from run import wait_until
from settings import LOGS, SITE


def start(name: str, command: Sequence[str | Path]) -> None:
    """Start a process that outlives this one. It writes to a log of its name."""
    LOGS.mkdir(parents=True, exist_ok=True)
    _lock(name).parent.mkdir(parents=True, exist_ok=True)
    with _lock(name).open("w") as lock, (LOGS / f"{name}.log").open("a") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = lock.fileno()
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[number],
            # The process writes its own id: none is unknown, whenever this command is interrupted.
            preexec_fn=lambda: os.write(number, str(os.getpid()).encode()),
            cwd="/",
        )


def pid(name: str) -> int | None:
    """Its process id while it runs."""
    try:
        lock = _lock(name).open()
    except FileNotFoundError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0) or None
    return None


def stop(name: str, with_signal: signal.Signals = signal.SIGTERM) -> None:
    """Stop it and wait until it is gone."""
    if (found := pid(name)) is not None:
        with suppress(ProcessLookupError):
            os.kill(found, with_signal)
        wait_until(f"the process {name} ({found}) ends", lambda: pid(name) is None)
    _lock(name).unlink(missing_ok=True)


def child(parent: int) -> int | None:
    """The first child of a process."""
    with suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return int(children[0]) if children else None
    return None


def _lock(name: str) -> Path:
    return SITE / "run" / f"{name}.pid"
