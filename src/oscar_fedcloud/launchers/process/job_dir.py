# SPDX-License-Identifier: Apache-2.0
"""The folder of a Job, through which the launcher and the shim communicate.

It is created under a temporary name and renamed, so it exists completely or not at all. If either process is killed,
its successor can interpret the state:

=========================  =====================================================================================
``spec.json``              created, not acknowledged
``started``                a shim runs or ran the Job (its pid); no other one will
``lock`` held              a process of the Job is alive
``status``                 how it ended (JSON)
``cancel``                 the shim is to end it
=========================  =====================================================================================

``started`` without a held lock and without ``status`` means that the Job was lost. A Job on this machine has the
permissions of the launcher, so its script may have written anything that is read here: only regular files and plausible
values are accepted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oscar_fedcloud.domain.runs import AttemptState, Completion, OutputPlace, StoredObject
from oscar_fedcloud.launchers.port import LogPart
from oscar_fedcloud.launchers.process import files
from oscar_fedcloud.launchers.process.joblog import read_log
from oscar_fedcloud.launchers.runner.outputs import LIST_MAX, parse_outputs
from oscar_fedcloud.launchers.runner.result import RESULT_MAX, Result, parse_result, plain

_KEPT = ("started", "status", "log")  # files of an acknowledged Job that are kept until it is pruned
_STATUS_MAX, _SPEC_MAX, _PROGRESS_MAX = 64 * 1024, 1024 * 1024, 4096  # bytes


class JobDir:
    """The folder of a Job in ``root``. Job names contain no slash."""

    def __init__(self, root: Path, job: str) -> None:
        self.job = job
        self.path = root / job

    @property
    def exists(self) -> bool:
        """Return whether the Job was created and not acknowledged."""
        return (self.path / "spec.json").exists()

    @property
    def started(self) -> bool:
        """Return whether a shim has started the Job."""
        return (self.path / "started").exists()

    def create(self, spec: Mapping[str, Any], environment: Mapping[str, str], script: bytes) -> None:
        """Create the folder, unless it exists. Raises OSError, ValueError."""
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
        """Return how the Job ended, or None while it may still run or has not started. Blocks; never raises."""
        if not self.path.is_dir():
            return Completion(self.job, AttemptState.LOST, reason="the Job's folder vanished")
        if not self.started:
            return None
        ended = self._status()
        if ended is None and not self._locked():
            ended = self._status() or self._lost()  # the shim writes it before it releases the lock
        return ended

    def _status(self) -> Completion | None:
        content = files.read_regular(self.path / "status", _STATUS_MAX)
        if content is None:
            return None
        try:
            return self._completion_of(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return Completion(self.job, AttemptState.FAILED, reason="the status of the job cannot be read")

    def _completion_of(self, status: Mapping[str, Any]) -> Completion:
        code, finished = status["exit_code"], status["finished"]
        result = parse_result(files.read_regular(self.path / "out" / "result", RESULT_MAX) or b"")
        return Completion(
            job=self.job,
            state=AttemptState(status["state"]),
            exit_code=code if type(code) is int and 0 <= code <= 255 else None,
            reason=plain(str(status["reason"]), 2000),
            finished=finished if type(finished) is float and 0 < finished < time.time() + 1 else None,
            limits={plain(str(name), 40): plain(str(how), 400) for name, how in list(status["limits"].items())[:20]},
            outputs=self._stored(result),
            outputs_total=result.total,
            summary=result.summary,
        )

    def _stored(self, result: Result) -> tuple[StoredObject, ...]:
        """Return what the Job stored, from the separate list if the result does not contain all of it."""
        if not result.total:
            return ()
        try:
            spec = json.loads(files.read_regular(self.path / "spec.json", _SPEC_MAX) or b"")
            places = [OutputPlace(*map(str, place)) for place in spec["outputs"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            return ()
        found = parse_outputs(result.outputs, places)
        if len(found) < result.total:
            found = parse_outputs(files.read_regular(self.path / "out" / "result.outputs", LIST_MAX) or b"", places)
        return found

    def _lost(self) -> Completion:
        """Return the end of a Job without a shim, and kill its processes. The runner may have finished nevertheless."""
        self.kill_orphans()
        result = parse_result(files.read_regular(self.path / "out" / "result", RESULT_MAX) or b"")
        if result.phase == "done":
            stored = self._stored(result)
            return Completion(
                self.job,
                AttemptState.SUCCEEDED,
                0,
                outputs=stored,
                outputs_total=result.total,
                summary=result.summary,
            )
        return Completion(self.job, AttemptState.LOST, reason="the Job's processes vanished without leaving a result")

    def progress(self) -> str:
        """Return what the runner waits for, or ""."""
        content = files.read_regular(self.path / "out" / "result.progress", _PROGRESS_MAX) or b""
        return plain(content.decode("utf-8", "replace"), 300)

    def _locked(self) -> bool:
        """Return whether a process of the Job is alive. Called only once ``started`` exists, so it blocks no shim."""
        try:
            lock = files.open_regular(self.path / "lock")
        except PermissionError:
            return False
        if lock is None:
            return False
        with open(lock, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def orphaned(self) -> bool:
        """Return whether the shim has ended while other processes of the Job may be alive."""
        try:
            os.kill(int(files.read_regular(self.path / "started", 20) or 0), 0)
        except ProcessLookupError:
            return True
        except (OSError, ValueError, OverflowError):
            return False
        return False

    def kill_orphans(self) -> None:
        """Kill the processes of a Job without a shim: all that hold the lock or have the Job's variable."""
        own = os.getpid()
        for pid in _members(os.path.realpath(self.path / "lock"), f"OSCAR_JOB={self.job}".encode()):
            if pid != own:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def log(self, offset: int) -> LogPart | None:
        """Return the log from an offset in bytes, or None if there is none."""
        try:
            return LogPart(*read_log(str(self.path), offset)) if files.is_regular(self.path / "log") else None
        except FileNotFoundError:  # pruned meanwhile
            return None

    def shim_log(self) -> str:
        """Return the shim's own last messages, for a reason."""
        content = files.read_regular(self.path / "shim.log", 64 * 1024) or b""
        return content.decode("utf-8", "replace")[-300:].strip()

    def acknowledge(self) -> None:
        """Remove everything but the log and the status. ``spec.json`` is removed last, so that this can be repeated."""
        if not self.exists:
            return
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            elif path.name.partition(".")[0] not in (*_KEPT, "spec"):
                path.unlink(missing_ok=True)
        (self.path / "spec.json").unlink(missing_ok=True)


def folder_size(folder: Path) -> int:
    """Return how many bytes the files directly in a folder take."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except FileNotFoundError:
        return 0


def remove_tree(folder: Path) -> None:
    """Remove a folder, even if a script removed its own permissions."""

    def allow(_function: object, path: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o700)
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)

    shutil.rmtree(folder, onerror=allow)


def _members(lock: str, name: bytes) -> Iterator[int]:
    """Yield the processes that hold this lock or have this variable in their environment."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # not ours, or ended meanwhile
                if name in (process / "environ").read_bytes().split(b"\0") or any(
                    os.readlink(descriptor) == lock for descriptor in (process / "fd").iterdir()
                ):
                    yield int(process.name)
