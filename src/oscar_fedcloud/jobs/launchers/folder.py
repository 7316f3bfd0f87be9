# SPDX-License-Identifier: Apache-2.0
"""The folder of one Job, through which the launcher and the shim tell each other everything.

It is made beside its place and renamed into it, so it is there whole or not at all, and whoever is killed leaves a
state that the next one understands:

=========================  =====================================================================================
``spec.json``              made, not acknowledged
``started``                a shim ran the Job or runs it (its pid); no other one will
``lock`` held              something of the Job lives
``status``                 how it ended (JSON)
``cancel``                 the shim shall end it
=========================  =====================================================================================

``started`` without a held lock and without ``status`` means that the Job was lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oscar_fedcloud.jobs.launchers.joblog import read_log
from oscar_fedcloud.model import AttemptState, Completion

_KEPT = ("started", "status", "log")  # what an acknowledged Job leaves until it is pruned


class JobFolder:
    """One Job's folder in ``root``; job names hold no slash."""

    def __init__(self, root: Path, job: str) -> None:
        self.job = job
        self.path = root / job

    @property
    def exists(self) -> bool:
        """Whether the Job was made and not acknowledged."""
        return (self.path / "spec.json").exists()

    @property
    def started(self) -> bool:
        """Whether a shim has taken the Job up."""
        return (self.path / "started").exists()

    def create(self, spec: Mapping[str, Any], environment: Mapping[str, str], script: bytes) -> None:
        """Make the folder. Nothing happens if it is there already. Raises OSError, ValueError."""
        entries = [f"{name}={value}".encode("utf-8", "surrogateescape") for name, value in environment.items()]
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.path.parent))
        try:
            for name in ("work", "tmp", "out"):
                (fresh / name).mkdir()
            self._write(fresh / "environment", b"\0".join(entries))
            self._write(fresh / "script", script)
            self._write(fresh / "spec.json", json.dumps(spec).encode())
            fresh.rename(self.path)
        except OSError:
            if not self.path.exists():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        path.touch(0o600)
        path.write_bytes(data)

    def cancel(self) -> None:
        """Ask the shim to end the Job."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self.path / "cancel").touch()

    def completion(self) -> Completion | None:
        """How the Job ended, or None while it may still run or has not begun."""
        if not self.started:
            return None
        ended = self._status()
        if ended is None and not self._locked():
            ended = self._status() or self._lost()  # the shim writes it before it lets go of the lock
        return ended

    def _status(self) -> Completion | None:
        try:
            status = json.loads((self.path / "status").read_bytes())
        except FileNotFoundError:
            return None
        return Completion(
            job=self.job,
            state=AttemptState(status["state"]),
            exit_code=status["exit_code"],
            reason=status["reason"],
            finished=status["finished"],
            limits=status["limits"],
        )

    def _lost(self) -> Completion:
        """Without its shim; the runner may have come to its end nevertheless."""
        with contextlib.suppress(OSError):
            if "phase=done\n" in (self.path / "out" / "result").read_text(encoding="utf-8", errors="replace"):
                return Completion(self.job, AttemptState.SUCCEEDED, 0)
        return Completion(self.job, AttemptState.LOST, reason="the Job's processes vanished without leaving a result")

    def _locked(self) -> bool:
        """Whether something of the Job lives. Only asked after ``started`` is there, so no shim can be kept from it."""
        with (self.path / "lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def orphaned(self) -> bool:
        """Whether the shim has gone while something of the Job may live."""
        try:
            os.kill(int((self.path / "started").read_text(encoding="ascii") or 0), 0)
        except ProcessLookupError:
            return True
        except (OSError, ValueError):
            return False
        return False

    def kill_orphans(self) -> None:
        """Kill all that holds the lock: the processes of a Job that has lost its shim."""
        for pid in _holders(os.path.realpath(self.path / "lock")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def log(self, tail: int | None) -> Iterator[bytes] | None:
        """The log in chunks, or None when there is none."""
        return read_log(str(self.path), tail) if (self.path / "log").exists() else None

    def shim_log(self) -> str:
        """What the shim itself had to say, for a reason."""
        with contextlib.suppress(OSError):
            return (self.path / "shim.log").read_text(encoding="utf-8", errors="replace")[-300:].strip()
        return ""

    def acknowledge(self) -> None:
        """Remove all but the log and the status. ``spec.json`` goes last, so that this can be repeated."""
        if not self.exists:
            return
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.partition(".")[0] not in (*_KEPT, "spec"):
                path.unlink()
        (self.path / "spec.json").unlink()


def _holders(lock: str) -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # not ours, or ended meanwhile
                if any(os.readlink(descriptor) == lock for descriptor in (process / "fd").iterdir()):
                    yield int(process.name)
