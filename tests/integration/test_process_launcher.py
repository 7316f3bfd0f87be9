# SPDX-License-Identifier: Apache-2.0
"""The process launcher: what becomes of a Job whatever is killed, and how its limits hold. Scripts prove it by files."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from oscar_fedcloud.config import LauncherConfig
from oscar_fedcloud.jobs.launchers.process import ProcessLauncher
from oscar_fedcloud.model import AttemptState, Completion, JobSpec, LaunchError
from parts.jobs import SYSTEM_PATH, Store, service, spec_of
from parts.rclone_s3 import RcloneS3, rclone_binary

CONFIG = LauncherConfig(rclone=str(rclone_binary()), path=tuple(SYSTEM_PATH.split(":")))


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with RcloneS3() as server:
        yield Store(server)


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[ProcessLauncher]:
    """A launcher; what its Jobs leave running is ended."""
    started = ProcessLauncher(tmp_path / "jobs", CONFIG, grace=2.0)
    yield started
    await started.close()
    for pid in (tmp_path / "jobs").glob("*/started"):
        end(int(pid.read_text()))


@pytest.fixture
def spec(store: Store, request: pytest.FixtureRequest) -> Callable[..., JobSpec]:
    """Makes the Job of a script, on an object of its own."""

    def make(script: str, *, memory: str = "512Mi", timeout: float = 0, **changes: object) -> JobSpec:
        event = store.put(f"in/{time.time_ns()}", b"content")
        job = spec_of(store, service(script, memory=memory), event, log_bucket="")
        return replace(job, timeout=timeout, **changes)

    return make


def end(pid: int) -> None:
    """Kill a process if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


async def ended(launcher: ProcessLauncher, timeout: float = 60) -> Completion:
    """The next completion."""
    async with asyncio.timeout(timeout):
        async for completion in launcher.completions():
            return completion
    raise AssertionError("no completion")


async def there(path: Path, timeout: float = 40) -> Path:
    """Wait until a file exists."""
    async with asyncio.timeout(timeout):
        while not path.exists():
            await asyncio.sleep(0.05)
    return path


def text(launcher: ProcessLauncher, job: str, tail: int | None = None) -> str:
    """A Job's log."""
    chunks = launcher.log(job, tail)
    assert chunks is not None
    return b"".join(chunks).decode()


async def test_success(launcher: ProcessLauncher, spec: Callable[..., JobSpec], store: Store) -> None:
    job = spec('cat "$INPUT_FILE_PATH"; echo made >"$TMP_OUTPUT_DIR/$OSCAR_JOB"')
    await launcher.start(job)
    completion = await ended(launcher)
    assert (completion.state, completion.exit_code) == (AttemptState.SUCCEEDED, 0)
    assert completion.limits["memory"] in ("cgroup", "watched")
    assert "trusted" in completion.limits["isolation"]
    assert store.read(f"out/{job.job}") == b"made\n"
    assert text(launcher, job.job).startswith("content")
    assert text(launcher, job.job, tail=5) == "done\n"


async def test_failure_keeps_the_log(launcher: ProcessLauncher, spec: Callable[..., JobSpec], store: Store) -> None:
    job = spec('echo before; echo x >"$TMP_OUTPUT_DIR/$OSCAR_JOB"; exit 3')
    await launcher.start(job)
    completion = await ended(launcher)
    assert (completion.state, completion.exit_code) == (AttemptState.FAILED, 3)
    assert "exit code 3" in completion.reason
    assert f"out/{job.job}" not in store.keys()
    await launcher.acknowledge(job.job)
    assert text(launcher, job.job).startswith("before\n")
    assert sorted(path.name for path in (launcher.root / job.job).iterdir()) == ["log", "started", "status"]


async def test_gone_and_changed_inputs(launcher: ProcessLauncher, spec: Callable[..., JobSpec], store: Store) -> None:
    job = spec("echo ran")
    store.client.remove_object("data", job.run.event.key)
    await launcher.start(job)
    assert (await ended(launcher)).state is AttemptState.INPUT_GONE
    job = spec("echo ran")
    store.put(job.run.event.key, b"another")
    await launcher.start(job)
    assert (await ended(launcher)).state is AttemptState.INPUT_CHANGED


async def test_the_environment_is_clean(
    launcher: ProcessLauncher, spec: Callable[..., JobSpec], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "leaked")
    job = spec("env; pwd; ls /proc/self/fd | wc -l")
    await launcher.start(job)
    await ended(launcher)
    log = text(launcher, job.job)
    assert "leaked" not in log
    assert store.server.secret_key not in log
    assert f"HOME={launcher.root / job.job / 'work'}\n" in log
    assert f"\n{launcher.root / job.job / 'work'}\n" in log
    assert "LANG=C.UTF-8\n" in log
    names = {line.partition("=")[0] for line in log.splitlines() if "=" in line}
    assert names == {
        *("PATH", "HOME", "LANG", "TMPDIR", "PWD", "EVENT", "EVENT_TIME", "STORAGE_OBJECT_KEY", "INPUT_FILE_PATH"),
        *("TMP_INPUT_DIR", "TMP_OUTPUT_DIR", "JOB_UUID", "RESOURCE_ID", "OSCAR_JOB", "OSCAR_ATTEMPT"),
        *("OSCAR_SERVICE_NAME", "OSCAR_SERVICE_TOKEN"),
    }


async def test_files_of_the_job_are_private(launcher: ProcessLauncher, spec: Callable[..., JobSpec], store: Store) -> None:
    job = spec("sleep 30")
    await launcher.start(job)
    folder = launcher.root / job.job
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "environment").stat().st_mode & 0o777 == 0o600
    await there(folder / "started")
    commands = [Path(path, "cmdline").read_bytes() for path in Path("/proc").glob("[0-9]*") if Path(path, "cmdline").exists()]
    assert not any(store.server.secret_key.encode() in command for command in commands)
    await launcher.cancel(job.job)
    await ended(launcher)


async def test_cancel(launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path) -> None:
    job = spec(f"touch {tmp_path}/on; trap 'touch {tmp_path}/told; exit 0' TERM; sleep 60 & wait")
    await launcher.start(job)
    await there(tmp_path / "on")
    await launcher.cancel(job.job)
    assert (await ended(launcher)).state is AttemptState.CANCELLED
    assert (tmp_path / "told").exists()


async def test_cancel_of_what_does_not_listen(launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path) -> None:
    job = spec(f"trap '' TERM; echo $$ >{tmp_path}/on; while :; do sleep 1; done")
    await launcher.start(job)
    pid = int((await there(tmp_path / "on")).read_text() or 0)
    await launcher.cancel(job.job)
    assert (await ended(launcher)).state is AttemptState.CANCELLED
    assert not pid or not Path(f"/proc/{pid}").exists()


async def test_unknown_jobs_are_ignored(launcher: ProcessLauncher) -> None:
    await launcher.cancel("no-such-job-1")
    await launcher.acknowledge("no-such-job-1")
    assert launcher.log("no-such-job-1") is None
    assert await launcher.adopt(["no-such-job-1"]) == set()


async def test_timeout(launcher: ProcessLauncher, spec: Callable[..., JobSpec]) -> None:
    await launcher.start(spec("echo on; sleep 60", timeout=4))
    completion = await ended(launcher)
    assert completion.state is AttemptState.TIMEOUT
    assert "4 s" in completion.reason


async def test_memory(launcher: ProcessLauncher, spec: Callable[..., JobSpec]) -> None:
    script = "#!/usr/bin/env python3\nimport time\nblock = bytearray(200 << 20)\nblock[::4096] = b'x' * len(block[::4096])\ntime.sleep(60)"
    await launcher.start(spec(script, memory=100 << 20))
    completion = await ended(launcher)
    assert completion.state is AttemptState.OOM
    assert str(100 << 20) in completion.reason


async def test_memory_that_processes_share_counts_once(launcher: ProcessLauncher, spec: Callable[..., JobSpec]) -> None:
    script = (
        "#!/usr/bin/env python3\nimport os, time\nblock = bytearray(60 << 20)\nblock[::4096] = b'x' * len(block[::4096])\n"
        "children = [os.fork() for _ in range(1)] + [0]\nif children[0]:\n    children += [os.fork()]\ntime.sleep(3)"
    )
    await launcher.start(spec(script, memory=120 << 20))
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED


async def test_what_the_script_leaves_running_ends(
    launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path
) -> None:
    await launcher.start(spec(f"setsid sh -c 'echo $$ >{tmp_path}/pid; sleep 100' >/dev/null 2>&1 & sleep 1; echo on"))
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_a_long_log_is_capped(tmp_path: Path, spec: Callable[..., JobSpec]) -> None:
    launcher = ProcessLauncher(tmp_path / "jobs", LauncherConfig(rclone=CONFIG.rclone, log_max=100_000), grace=1.0)
    job = spec("echo first; yes 0123456789abcdef | head -c 20000000; echo last")
    await launcher.start(job)
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED
    log = text(launcher, job.job)
    assert log.startswith("first\n")
    assert "\nlast\n" in log
    assert "left out" in log
    assert len(log) <= 110_000
    assert len(text(launcher, job.job, tail=1000)) == 1000
    await launcher.close()


async def test_the_same_name_starts_once(launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path) -> None:
    job = spec(f"echo ran >>{tmp_path}/ran; sleep 1")
    others = [ProcessLauncher(launcher.root, CONFIG) for _ in range(3)]
    await asyncio.gather(*(each.start(job) for each in (launcher, *others, launcher)))
    completions = [await ended(each) for each in (launcher, *others)]
    assert {completion.state for completion in completions} == {AttemptState.SUCCEEDED}
    await launcher.start(job)
    assert (tmp_path / "ran").read_text() == "ran\n"
    for each in others:
        await each.close()


async def test_a_killed_shim_is_a_lost_job(launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path) -> None:
    job = spec(f"echo $$ >{tmp_path}/on; sleep 60; touch {tmp_path}/finished")
    await launcher.start(job)
    script = int((await there(tmp_path / "on")).read_text() or 0)
    os.kill(int((launcher.root / job.job / "started").read_text()), signal.SIGKILL)
    assert (await ended(launcher)).state is AttemptState.LOST
    assert not Path(f"/proc/{script}").exists()
    assert not (tmp_path / "finished").exists()


async def test_a_job_without_its_shim_that_goes_on_is_ended(
    launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oscar_fedcloud.jobs.launchers.process._ORPHAN_GRACE", 1.0)
    job = spec(f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >{tmp_path}/on; while :; do sleep 1; done'")
    await launcher.start(job)
    script = int((await there(tmp_path / "on")).read_text() or 0)
    os.kill(int((launcher.root / job.job / "started").read_text()), signal.SIGKILL)
    assert (await ended(launcher)).state is AttemptState.LOST
    assert not Path(f"/proc/{script}").exists()


LIFE = """
import asyncio, pickle, sys
from pathlib import Path
from oscar_fedcloud.jobs.launchers.process import ProcessLauncher
async def main():
    folder, config, specs = pickle.loads(Path(sys.argv[1]).read_bytes())
    launcher = ProcessLauncher(folder, config)
    for spec in specs:
        await launcher.start(spec)
    print("started", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_jobs_outlive_a_killed_invoker_and_are_adopted(
    launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path
) -> None:
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
    jobs = [spec(f"echo $OSCAR_JOB >>{tmp_path}/ran; {wait}") for _ in range(2)]
    quick = spec(f"echo $OSCAR_JOB >>{tmp_path}/ran; touch {tmp_path}/quick; exit 4")
    (tmp_path / "life").write_bytes(pickle.dumps((launcher.root, CONFIG, [*jobs, quick])))
    invoker = subprocess.Popen([sys.executable, "-c", LIFE, str(tmp_path / "life")], stdout=subprocess.PIPE)
    await there(launcher.root / quick.job / "status")
    invoker.kill()
    invoker.communicate()
    names = [job.job for job in (*jobs, quick)]
    await there(launcher.root / jobs[0].job / "started")
    await there(launcher.root / jobs[1].job / "started")
    assert await launcher.adopt([*names, "never-begun-1"]) == set(names)
    (tmp_path / "go").touch()
    found = {(completion := await ended(launcher)).job: completion for _ in names}
    assert [found[name].state for name in names] == [AttemptState.SUCCEEDED, AttemptState.SUCCEEDED, AttemptState.FAILED]
    assert found[quick.job].exit_code == 4
    assert sorted((tmp_path / "ran").read_text().split()) == sorted(names)


async def test_a_job_that_was_made_but_not_begun_is_started(
    launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = spec(f"echo ran >>{tmp_path}/ran")
    with monkeypatch.context() as killed:  # before the shim was there

        def die(_: object) -> int:
            raise OSError("killed")

        killed.setattr("oscar_fedcloud.jobs.launchers.process._spawn_shim", die)
        with pytest.raises(LaunchError, match="killed"):
            await launcher.start(job)
    assert await launcher.adopt([job.job]) == set()
    await launcher.start(job)
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_the_timeout_holds_while_no_invoker_runs(
    launcher: ProcessLauncher, spec: Callable[..., JobSpec], tmp_path: Path
) -> None:
    job = spec("sleep 60", timeout=3)
    await launcher.start(job)
    await there(launcher.root / job.job / "started")
    await launcher.close()
    status = json.loads((await there(launcher.root / job.job / "status")).read_text())
    assert status["state"] == "timeout"


async def test_old_logs_are_pruned(tmp_path: Path, spec: Callable[..., JobSpec]) -> None:
    launcher = ProcessLauncher(tmp_path / "jobs", CONFIG, retention=-1.0)
    job = spec("echo on")
    await launcher.start(job)
    await ended(launcher)
    assert launcher.log(job.job) is not None
    await launcher.acknowledge(job.job)
    assert list(launcher.root.iterdir()) == []
    await launcher.close()


@pytest.mark.parametrize(
    ("config", "env", "message"),
    [
        (LauncherConfig(rclone="/no/such/rclone"), {}, "launcher.rclone"),
        (CONFIG, {"BAD": "nul\0"}, "variable 'BAD' of service step"),
        (CONFIG, {"A=B": "x"}, "variable 'A=B' of service step"),
    ],
)
async def test_what_cannot_be_started_says_why(
    tmp_path: Path, spec: Callable[..., JobSpec], config: LauncherConfig, env: dict[str, str], message: str
) -> None:
    launcher = ProcessLauncher(tmp_path / "jobs", config)
    job = spec("true")
    with pytest.raises(LaunchError, match=message):
        await launcher.start(replace(job, env={**job.env, **env}))
    assert list(launcher.root.iterdir()) == []


async def test_too_large_an_environment_is_no_launch(launcher: ProcessLauncher, spec: Callable[..., JobSpec]) -> None:
    job = spec("true")
    await launcher.start(replace(job, env={**job.env, "LARGE": "x" * 200_000}))
    completion = await ended(launcher)
    assert completion.state is AttemptState.LAUNCH_FAILED
    assert "Argument list too long" in completion.reason
