# SPDX-License-Identifier: Apache-2.0
"""The guardian of one Job on this machine: ``python -I -S shim.py FOLDER``. A process of its own, that needs no invoker.

It takes the folder's lock, which its children inherit, so that the lock is held as long as anything of the Job lives. It
starts ``runner.sh``, enforces limits, obeys the file ``cancel``, keeps a capped log, and leaves ``status`` by rename. Of
several shims on one folder one runs the Job, and only if no ``started`` is there; the others end without a word. When
the shim itself is killed, the kernel sends TERM to the runner. Only the standard library, for a quick start.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

TICK = 0.2  # s between looks at limits and at ``cancel``
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PAGE = os.sysconf("SC_PAGE_SIZE")


class CappedLog:
    """The first half of what is allowed in ``log``; of the rest the newest part in ``log.1`` (older) and ``log.2``."""

    def __init__(self, limit: int) -> None:
        self._room, self._quarter = limit // 2, max(1, limit // 4)
        self._file = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._in_tail = False

    def write(self, data: bytes) -> None:
        while data:
            if self._room <= 0:
                self._turn()
            part, data = data[: self._room], data[self._room :]
            self._room -= os.write(self._file, part)

    def _turn(self) -> None:
        os.close(self._file)
        if self._in_tail:
            os.replace("log.2", "log.1")
        self._file = os.open("log.2", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._in_tail, self._room = True, self._quarter


class Job:
    """One run of the runner. ``stopped`` is (state, reason) once it was decided to end the Job."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.log = CappedLog(spec["log_max"])
        self.begun = time.monotonic()
        self.stopped: tuple[str, str] | None = None
        self.kill_at = float("inf")

    def run(self) -> dict[str, Any]:
        """Run the Job to its end and say how it ended."""
        started = time.time()
        if os.path.exists("cancel"):
            ended: dict[str, Any] = {"state": "cancelled", "reason": "cancelled before it began", "exit_code": None}
        else:
            ended = self._watched()
        return {**ended, "started": started, "finished": time.time(), "limits": self.spec["limits"]}

    def _watched(self) -> dict[str, Any]:
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop("lost", "the process that watched the Job was told to end"))
        output, runner, problem = spawn(self.spec)
        if problem:
            return {"state": "launch_failed", "reason": f"the runner could not be started: {problem}", "exit_code": None}
        code = self._until_ended(runner, output, wake)
        self._end_rest()
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
            for ready, _ in poll.poll(TICK * 1000):
                if ready == wake:
                    os.read(wake, 512)
                elif not self._pump(output):
                    poll.unregister(output)
            pid, status = os.waitpid(runner, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= look:
                self._look()
                look = time.monotonic() + TICK

    def _pump(self, output: int) -> bool:
        try:
            data = os.read(output, 65536)
        except BlockingIOError:
            return False
        self.log.write(data)
        return bool(data)

    def _look(self) -> None:
        """Whether the Job must be ended, and whether it has had its time to end by itself."""
        timeout, memory = self.spec["timeout"], self.spec["watch_memory"]
        if self.stopped:
            if time.monotonic() >= self.kill_at:
                self._kill()
        elif os.path.exists("cancel"):
            self._stop("cancelled", "cancelled")
        elif timeout and time.monotonic() - self.begun >= timeout:
            self._stop("timeout", f"ran longer than its timeout of {timeout:g} s")
        elif memory and exceeds(memory):
            self._stop("oom", f"used more than its memory of {memory} bytes")
            self._kill()

    def _stop(self, state: str, reason: str) -> None:
        self.stopped = self.stopped or (state, reason)
        self.kill_at = min(self.kill_at, time.monotonic() + self.spec["grace"])
        send(signal.SIGTERM)

    def _kill(self) -> None:
        command(self.spec["remove"])
        send(signal.SIGKILL)

    def _end_rest(self) -> None:
        """What the script left running ends with it."""
        give_up = time.monotonic() + 5
        while next(descendants(), None) and time.monotonic() < give_up:
            send(signal.SIGKILL)
            reap()
            time.sleep(0.01)

    def _judge(self, code: int) -> dict[str, Any]:
        result = read_result()
        phase, exit_code, reason = result.get("phase"), int(result.get("exit", code)), result.get("reason", "")
        out_of_memory = command(self.spec["inspect"]).strip() == b"true" or cgroup_killed(self.spec["cgroup"])
        command(self.spec["remove"])
        if phase == "done":
            return {"state": "succeeded", "reason": "", "exit_code": 0}
        if self.stopped:
            state, reason = self.stopped
        elif out_of_memory:
            state, reason = "oom", f"used more than its memory of {self.spec['memory']} bytes"
        elif phase is None or (exit_code == 128 + signal.SIGTERM and phase != "script"):
            state, reason = "lost", f"the runner was ended from outside (exit code {code})"
        else:
            state = {121: "input_gone", 122: "input_changed"}.get(exit_code, "staging_failed")
        if phase == "script":
            state = state if self.stopped or out_of_memory else "failed"
            return {"state": state, "reason": reason, "exit_code": exit_code}
        return {"state": state, "reason": reason, "exit_code": 0 if phase == "stage_out" else None}


def spawn(spec: dict[str, Any]) -> tuple[int, int, str]:
    """Start the runner in a session of its own: (its output, its pid, what went wrong or "")."""
    with open("environment", "rb") as file:
        pairs = [entry.partition(b"=") for entry in file.read().split(b"\0") if entry]
    output, sink = os.pipe()
    report, problem = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become_runner(spec, sink)
            os.execve(spec["command"][0], spec["command"], {name: value for name, _, value in pairs})
        except BaseException as error:
            os.write(problem, str(error).encode())
        os._exit(127)
    os.close(sink)
    os.close(problem)
    with open(report, "rb") as file:
        return output, pid, file.read().decode(errors="replace")


def become_runner(spec: dict[str, Any], sink: int) -> None:
    """In the child: session, limits, standard streams, signals as a shell expects them."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if spec["cgroup"]:
        with open(os.path.join(spec["cgroup"], "cgroup.procs"), "w") as file:
            file.write("0")
    os.nice(spec["nice"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(spec["work"])


def descendants(pid: int | str = "self") -> Iterator[int]:
    """All processes below one; orphans among them come to us, as this process is their subreaper."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        children = [child for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
    except OSError:  # ended meanwhile
        return
    for child in children:
        yield int(child)
        yield from descendants(int(child))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def send(number: int) -> None:
    for pid in list(descendants()):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def exceeds(limit: int) -> bool:
    """Whether the Job uses more memory. Resident memory is cheap to ask but counts shared pages twice; PSS does not."""
    pids = list(descendants())
    return _sum(pids, _resident) > limit and _sum(pids, _proportional) > limit


def _sum(pids: list[int], of: Any) -> int:
    total = 0
    for pid in pids:
        try:
            total += of(pid)
        except (OSError, IndexError):  # ended meanwhile
            pass
    return total


def _resident(pid: int) -> int:
    return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE


def _proportional(pid: int) -> int:
    return int(_read(f"/proc/{pid}/smaps_rollup").partition(b"\nPss:")[2].split()[0]) * 1024


def cgroup_killed(folder: str) -> bool:
    """Whether the kernel killed in this cgroup for its memory; removes the cgroup."""
    if not folder:
        return False
    events = dict(line.split() for line in _read(os.path.join(folder, "memory.events")).splitlines())
    os.rmdir(folder)
    return int(events.get(b"oom_kill", 0)) > 0


def command(arguments: list[str]) -> bytes:
    """Output of a command of the container engine; nothing is done for an empty one."""
    if not arguments:
        return b""
    import subprocess

    return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout


def read_result() -> dict[str, str]:
    try:
        with open("out/result", encoding="utf-8", errors="replace") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except FileNotFoundError:
        return {}


def write_status(status: dict[str, Any]) -> None:
    """Leave the end where an invoker, of this life or the next, finds it whole or not at all."""
    with open("status.new", "w", encoding="utf-8") as file:
        json.dump(status, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace("status.new", "status")
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)


def main(folder: str) -> None:
    os.chdir(folder)
    lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        started = os.open("started", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except (BlockingIOError, FileExistsError):
        return
    os.write(started, str(os.getpid()).encode())
    os.close(started)
    os.set_inheritable(lock, True)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with open("spec.json", encoding="utf-8") as file:
        spec = json.load(file)
    write_status(Job(spec).run())


if __name__ == "__main__":
    main(sys.argv[1])
