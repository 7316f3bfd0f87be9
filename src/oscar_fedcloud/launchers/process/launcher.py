# SPDX-License-Identifier: Apache-2.0
"""Launcher of the single-machine profile: each Job is a separate process group, supervised by a shim.

Host mode (``container: never``, or ``auto`` without an engine) is for one user's trusted scripts: a Job runs as the
user of the invoker, whose files it can read. Its limits contain mistakes; ``Completion.limits`` states how each was
enforced. If the invoker is killed, its Jobs continue, and the next process adopts them from their folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from oscar_fedcloud.config import LauncherConfig
from oscar_fedcloud.domain.runs import AttemptState, Completion
from oscar_fedcloud.launchers.port import JobSpec, LaunchError, LogPart
from oscar_fedcloud.launchers.process import limits
from oscar_fedcloud.launchers.process.container import Engine, find_engine
from oscar_fedcloud.launchers.process.container_engine import EngineWatch
from oscar_fedcloud.launchers.process.job_dir import JobDir, folder_size, remove_tree
from oscar_fedcloud.launchers.process.process_plan import RUNNER, HostCapabilities, plan_job

_SHIM = "import sys; sys.path.append(sys.argv[1]); from launchers.process.shim import main; main(sys.argv[2])"
_POLL = 0.25  # s between checks of Jobs whose shim is not a child process
_ORPHAN_GRACE = 15.0  # s that processes of a Job may continue without its shim
_PRUNE_PAUSE = 600.0  # s


class ProcessLauncher:
    """Starts Jobs on this machine. ``folder`` contains one folder for each.

    Args:
        grace: seconds between TERM and KILL
        retention: seconds for which log and status of an acknowledged Job are kept, as long as all of them together
            fit into ``config.log_total``
    """

    def __init__(
        self, folder: Path, config: LauncherConfig, *, grace: float = 10.0, retention: float = 30 * 24 * 3600.0
    ) -> None:
        self.root = folder.absolute()
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.config = config
        self.grace = grace
        self.retention = retention
        self._ended: asyncio.Queue[Completion] = asyncio.Queue()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._pruned = 0.0
        self._kept = 0  # bytes of acknowledged Jobs, counted since the last full scan
        self._engine = EngineWatch(lambda: find_engine())

    async def start(self, spec: JobSpec) -> None:
        """Start the Job, or adopt it if it already exists. Raises LaunchError if it cannot be started."""
        if spec.job in self._watches:
            return
        try:
            shim = await asyncio.to_thread(self._begin, spec)
        except OSError as error:
            raise LaunchError(f"job {spec.job} could not be started: {error}") from error
        self._watch(spec.job, shim)

    async def adopt(self, jobs: Iterable[str]) -> set[str]:
        """Adopt Jobs that a former process started. Others are left to ``start``, under the same name."""
        found = {job for job in jobs if self._folder(job).started}
        for job in found:
            self._watch(job, None)
        await asyncio.to_thread(self._clear_recorded, set(jobs))
        return found

    def _clear_recorded(self, open_jobs: set[str]) -> None:
        """Acknowledge Jobs whose end a former process recorded but did not acknowledge."""
        for path in self.root.iterdir():
            if path.name not in open_jobs and (path / "spec.json").exists():
                folder = JobDir(self.root, path.name)
                if not folder.started or folder.completion() is not None:
                    folder.acknowledge()

    async def cancel(self, job: str) -> None:
        """Cancel the Job. Its Completion (CANCELLED) follows. Unknown names are ignored."""
        self._folder(job).cancel()

    async def completions(self) -> AsyncIterator[Completion]:
        """Yield each ended Job, once per process of the invoker, until ``acknowledge``."""
        while True:
            yield await self._ended.get()

    async def acknowledge(self, job: str) -> None:
        """Remove the Job's working data. Its log and status are kept until ``_prune`` removes them."""
        self._watches.pop(job, None)
        folder = self._folder(job)
        await asyncio.to_thread(folder.acknowledge)
        self._kept += await asyncio.to_thread(folder_size, folder.path)
        if self._kept > self.config.log_total or time.monotonic() > self._pruned + _PRUNE_PAUSE:
            self._pruned = time.monotonic()
            self._kept = await asyncio.to_thread(self._prune)

    def log(self, job: str, offset: int = 0) -> LogPart | None:
        """Return the Job's log from an offset in bytes while the launcher still has it, else None."""
        return self._folder(job).log(offset)

    def waiting(self, job: str) -> tuple[str, str] | None:
        """Return None: a Job on this machine runs as soon as it is started."""
        return None

    def progress(self, job: str) -> str:
        """Return what a running Job waits for, such as a store that is down, or ""."""
        return self._folder(job).progress()

    async def collect(self, current: Mapping[str, str]) -> None:
        """Do nothing: no data is kept for a service."""

    def health(self) -> dict[str, Any]:
        """Return whether Jobs can be started: where containers are required, only while their engine answers."""
        found = self._engine.known() if self.config.container == "require" else ""
        good = isinstance(found, Engine) or not found
        return {"ok": good, "detail": "" if good else f"containers are required, but {found}"}

    async def close(self) -> None:
        """Stop watching. Jobs continue."""
        watches = list(self._watches.values())
        self._watches.clear()
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    def _folder(self, job: str) -> JobDir:
        if "/" in job or job.startswith("."):
            raise ValueError(f"{job!r} is not a name of a job")
        return JobDir(self.root, job)

    # -- starting --------------------------------------------------------------------------------------------------

    def _begin(self, spec: JobSpec) -> int | None:
        """Create the Job's folder and start a shim. Returns its pid, or None if a shim has started before."""
        folder = self._folder(spec.job)
        if not folder.exists:
            machine = replace(self._machine, engine=self._usable_engine())
            plan = plan_job(spec, folder.path, self.config, machine, self.grace)
            if plan.spec["cgroup"]:
                limits.make_cgroup(self._machine.cgroup, spec.job, spec.memory, spec.cpu)
            folder.create(plan.spec, plan.environment, spec.script)
        return None if folder.started else _spawn_shim(folder.path)

    @cached_property
    def _machine(self) -> HostCapabilities:
        rclone = shutil.which(self.config.rclone)
        if rclone is None:
            raise LaunchError(f"rclone is not at {self.config.rclone} (launcher.rclone): install it or give its path")
        cgroup = limits.delegated_cgroup()
        return HostCapabilities(
            rclone=Path(rclone).absolute(),
            cgroup=cgroup,
            shares_cpu=limits.shares_cpu(cgroup),
            can_watch_memory=limits.can_watch_memory(),
            engine="not used",
            own=dict(os.environ),
        )

    def _usable_engine(self) -> Engine | str:
        return self._engine.usable() if self.config.container != "never" else "not used"

    # -- watching --------------------------------------------------------------------------------------------------

    def _watch(self, job: str, shim: int | None) -> None:
        if job not in self._watches:
            self._watches[job] = asyncio.create_task(self._until_ended(self._folder(job), shim), name=f"watch {job}")

    async def _until_ended(self, folder: JobDir, shim: int | None) -> None:
        """Wait for the end of a Job and report it: immediately for a child shim, else by polling."""
        code = await _exit_of(shim) if shim else 0
        orphaned_since: float | None = None
        while (completion := await asyncio.to_thread(_completion, folder, code)) is None:
            if not folder.orphaned():
                orphaned_since = None
            elif orphaned_since is None:
                orphaned_since = time.monotonic()
            elif time.monotonic() > orphaned_since + _ORPHAN_GRACE:
                await asyncio.to_thread(folder.kill_orphans)
            await asyncio.sleep(_POLL)
        self._ended.put_nowait(completion)

    def _prune(self) -> int:
        """Remove data of acknowledged Jobs older than ``retention``, and incomplete folders.

        The oldest are removed first, until the rest uses at most nine tenths of ``log_total``, so that logs cannot fill
        the disk. The log bucket has them as well. Returns how many bytes are left.
        """
        oldest, room = time.time() - self.retention, self.config.log_total * 9 // 10
        kept = 0
        for modified, path in sorted(self._acknowledged(), reverse=True):
            size = 0 if path.name.startswith(".") else folder_size(path)  # folders being created do not count
            if modified < oldest or kept + size > room:
                remove_tree(path)
            else:
                kept += size
        return kept

    def _acknowledged(self) -> Iterator[tuple[float, Path]]:
        """Yield the folders of acknowledged Jobs and incomplete ones, with the time of their last change."""
        for path in self.root.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if not (path / "spec.json").exists():
                    yield path.stat().st_mtime, path


def _completion(folder: JobDir, code: int) -> Completion | None:
    if code and folder.path.is_dir() and not folder.started:
        reason = f"the shim failed with exit code {code}: {folder.shim_log()}"
        return Completion(folder.job, AttemptState.LAUNCH_FAILED, reason=reason)
    return folder.completion()


def _spawn_shim(folder: Path) -> int:
    """Start a shim in its own session, without inherited files and environment. Returns its pid."""
    log = str(folder / "shim.log")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    command = [sys.executable, "-I", "-S", "-c", _SHIM, str(RUNNER.parents[2]), str(folder)]
    return os.posix_spawn(sys.executable, command, {}, file_actions=actions, setsid=True)


async def _exit_of(child: int) -> int:
    """Wait for a child process and return its exit code."""
    with contextlib.suppress(OSError):
        await _end_of(os.pidfd_open(child))
    while (code := _reap(child)) is None:  # noqa: ASYNC110  only on kernels without pidfd (before 5.3)
        await asyncio.sleep(_POLL)
    return code


def _reap(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


async def _end_of(process: int) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(process, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)
