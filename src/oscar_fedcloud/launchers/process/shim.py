# SPDX-License-Identifier: Apache-2.0
"""The supervisor of one Job on this machine: a separate process that does not depend on the invoker.

It takes the lock of the Job's folder. The runner inherits it, so the lock is held as long as the runner lives; the
user's script does not inherit it. The shim starts ``runner.sh``, enforces limits, obeys the file ``cancel``, keeps a
log of limited size and writes ``status`` by rename. Of several shims on one folder only one runs the Job, and only if
``started`` does not exist; the others exit silently. If a shim is killed, the kernel sends TERM to its runner. Standard
library only, for a quick start.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import time
from typing import Any

from ..runner.result import RESULT_MAX, Result, failure_state, parse_result, script_code
from . import files
from .joblog import CappedLog
from .limits import descendants, exceeds, killed_in_cgroup, signal_all

_TICK = 0.2  # s between checks of ``cancel`` and of limits
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LOCK_FD = 9  # a number that every shell can close; script.sh closes it before the user's script
_RESERVE = 64 * 1024  # bytes reserved for ``status`` in case the script fills the disk


def main(folder: str) -> None:
    """Run the Job of this folder, unless another shim runs or has run it."""
    os.chdir(folder)
    lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        started = os.open("started", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except (BlockingIOError, FileExistsError):
        return
    os.write(started, str(os.getpid()).encode())
    os.close(started)
    os.dup2(lock, _LOCK_FD, inheritable=True)
    with contextlib.suppress(OSError):
        os.write(files.create("reserve"), b"\0" * _RESERVE)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with open("spec.json", encoding="utf-8") as file:
        write_status(ShimJob(json.load(file)).run())


class ShimJob:
    """One run of the runner. ``stopped`` is (state, reason) once the shim has decided to end it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.result = Result()
        self.log = CappedLog(".", spec["log_max"])
        self.begun = time.monotonic()
        self.stopped: tuple[str, str] | None = None
        self.kill_at = float("inf")

    def run(self) -> dict[str, Any]:
        """Run the Job to its end and return its status."""
        started = time.time()
        if os.path.exists("cancel"):
            state, reason, exit_code = "cancelled", "cancelled before it began", None
        else:
            state, reason, exit_code = self._attend()
        told = {"summary": self.result.summary, "outputs": self.result.total}
        ended = {"state": state, "reason": reason, "exit_code": exit_code, **told}
        return {**ended, "started": started, "finished": time.time(), "limits": self.spec["limits"]}

    def _attend(self) -> tuple[str, str, int | None]:
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop("lost", "the process that watched the Job was told to end"))
        output, runner, problem = spawn(self.spec)
        if problem:
            state = "failed" if f"[Errno {errno.E2BIG}]" in problem else "launch_failed"  # variables of the service
            return state, f"the runner could not be started: {problem}", None
        code = self._until_ended(runner, output, wake)
        end_rest()
        os.set_blocking(output, False)
        while self._pump(output):
            pass
        return self._judge(code)

    def _until_ended(self, runner: int, output: int, wake: int) -> int:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(output, select.POLLIN)
        look = 0.0
        while True:
            for ready, _ in poll.poll(_TICK * 1000):
                if ready == wake:
                    os.read(wake, 512)
                elif not self._pump(output):
                    poll.unregister(output)
            pid, status = os.waitpid(runner, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= look:
                self._look()
                look = time.monotonic() + _TICK

    def _pump(self, output: int) -> bool:
        try:
            data = os.read(output, 64 * 1024)
        except BlockingIOError:
            return False
        self.log.write(data)
        return bool(data)

    def _look(self) -> None:
        """Stop the Job if necessary, and kill it if it does not stop within the grace period."""
        timeout, memory = self.spec["timeout"], self.spec["watched_memory"]
        if self.stopped:
            if time.monotonic() >= self.kill_at:
                self._kill()
        elif os.path.exists("cancel"):
            self._stop("cancelled", "cancelled")
        elif timeout and time.monotonic() - self.begun >= timeout:
            self._stop("timeout", f"ran longer than its timeout of {timeout:g} s")
        elif memory and exceeds(list(descendants()), memory):
            self.stopped = "oom", f"used more than its memory of {memory} bytes"
            self._kill()

    def _stop(self, state: str, reason: str) -> None:
        self.stopped = self.stopped or (state, reason)
        self.kill_at = min(self.kill_at, time.monotonic() + self.spec["grace"])
        signal_all(list(descendants()), signal.SIGTERM)

    def _kill(self) -> None:
        command(self.spec["remove"])
        signal_all(list(descendants()), signal.SIGKILL)

    def _judge(self, code: int) -> tuple[str, str, int | None]:
        """Return state, reason and the script's exit code, from the runner's result and the shim's decisions."""
        self.result = read_result()
        phase, exit_code = self.result.phase, self.result.exit
        out_of_memory = self._clear_up()
        of_script = script_code(phase, exit_code)
        if phase == "done":
            return "succeeded", "", 0
        if self.stopped:
            return *self.stopped, of_script
        if out_of_memory:
            return "oom", f"used more than its memory of {self.spec['memory']} bytes", of_script
        if not phase and self.spec["inspect"] and code > 0:
            return "launch_failed", "the container could not be started", None
        if self.result.problem:
            return "failed", self.result.problem, None
        if phase in ("", "stopped"):
            return "lost", f"the runner was ended from outside (exit code {code})", None
        return failure_state(phase, exit_code), self.result.reason, of_script

    def _clear_up(self) -> bool:
        """Remove cgroup and container. Returns whether one of them ran out of memory."""
        killed = command(self.spec["inspect"]).strip() == b"true"
        command(self.spec["remove"])
        if self.spec["cgroup"]:
            killed = killed_in_cgroup(self.spec["cgroup"])
            with contextlib.suppress(OSError):
                os.rmdir(self.spec["cgroup"])
        return killed


def spawn(spec: dict[str, Any]) -> tuple[int, int, str]:
    """Start the runner. Returns its output, its pid, and an error or ""."""
    with open("environment", "rb") as file:
        pairs = [entry.partition(b"=") for entry in file.read().split(b"\0") if entry]
    output, sink = os.pipe()
    report, problem = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become_runner(spec, sink)
            os.execve(spec["command"][0], spec["command"], {name: value for name, _, value in pairs})  # noqa: S606
        except BaseException as error:
            os.write(problem, str(error).encode())
        os._exit(127)
    os.close(sink)
    os.close(problem)
    with open(report, "rb") as file:
        return output, pid, file.read().decode(errors="replace")


def become_runner(spec: dict[str, Any], sink: int) -> None:
    """Prepare the child process: session, limits, standard streams, and the signal handling that a shell expects."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if spec["cgroup"]:
        with open(f"{spec['cgroup']}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
    os.nice(spec["nice"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(spec["work"])


def end_rest() -> None:
    """Kill the processes that the script left running."""
    give_up = time.monotonic() + 5
    while (left := list(descendants())) and time.monotonic() < give_up:
        signal_all(left, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def command(arguments: list[str]) -> bytes:
    """Run a command of the container engine and return its output. An empty command does nothing."""
    if not arguments:
        return b""
    import subprocess  # slow to load, and not needed without a container

    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout


def read_result() -> Result:
    """Return the runner's result, an empty one if it was killed."""
    with contextlib.suppress(OSError):
        os.chmod("out", 0o700)
    return parse_result(files.read_regular("out/result", RESULT_MAX) or b"")


def write_status(status: dict[str, Any]) -> None:
    """Write the status atomically, for this invoker process or the next."""
    with contextlib.suppress(OSError):
        os.chmod(".", 0o700)
    files.remove("reserve")
    content = json.dumps(status).encode()
    try:
        _write_file("status.new", content)
    except OSError:  # the disk is full: the Job's working data is no longer needed
        for name in ("work", "tmp"):
            files.remove(name)
        _write_file("status.new", content)
    if os.path.isdir("status"):
        files.remove("status")
    os.rename("status.new", "status")
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)


def _write_file(path: str, content: bytes) -> None:
    with open(files.create(path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
