# SPDX-License-Identifier: Apache-2.0
"""The process launcher: how Jobs end, what they see, and how their limits hold."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from parts.jobs import Store
from parts.launching import CONFIG, alive, command_lines, content, ended, launching, log_of, make_job
from parts.rclone_s3 import RcloneS3

from oscar_fedcloud.config import LauncherConfig
from oscar_fedcloud.domain.runs import AttemptState
from oscar_fedcloud.launchers.port import LaunchError
from oscar_fedcloud.launchers.process.container import Engine
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with RcloneS3() as server:
        yield Store(server)


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[ProcessLauncher]:
    async with launching(tmp_path / "jobs") as started:
        yield started


async def test_success(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, 'cat "$INPUT_FILE_PATH"; echo made >"$TMP_OUTPUT_DIR/$OSCAR_JOB"')
    await launcher.start(job)
    completion = await ended(launcher)
    assert (completion.state, completion.exit_code) == (AttemptState.SUCCEEDED, 0)
    assert completion.limits["memory"] in ("cgroup", "watched")
    assert "trusted" in completion.limits["isolation"]
    assert store.read(f"out/{job.job}") == b"made\n"
    assert log_of(launcher, job.job).startswith("content")
    whole = launcher.log(job.job)
    assert whole is not None
    assert log_of(launcher, job.job, whole.end - 5) == "done\n"


async def test_a_failure_keeps_the_log_and_stages_nothing(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, 'echo before; echo x >"$TMP_OUTPUT_DIR/$OSCAR_JOB"; exit 3')
    await launcher.start(job)
    completion = await ended(launcher)
    assert (completion.state, completion.exit_code) == (AttemptState.FAILED, 3)
    assert "exit code 3" in completion.reason
    assert f"out/{job.job}" not in store.names("out/")
    await launcher.acknowledge(job.job)
    assert log_of(launcher, job.job).startswith("before\n")
    assert sorted(path.name for path in (launcher.root / job.job).iterdir()) == ["log", "started", "status"]


async def test_inputs_that_are_gone_or_changed(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, "echo ran")
    store.client.remove_object("data", job.run.event.key)
    await launcher.start(job)
    assert (await ended(launcher)).state is AttemptState.INPUT_GONE
    job = make_job(store, "echo ran")
    store.put(job.run.event.key, b"another")
    await launcher.start(job)
    assert (await ended(launcher)).state is AttemptState.INPUT_CHANGED


async def test_outputs_that_cannot_be_stored(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, 'echo x >"$TMP_OUTPUT_DIR/x"')
    await launcher.start(replace(job, env={**job.env, "OSCAR_OUTPUT_0_PATH": "no-such-bucket/x"}))
    completion = await ended(launcher)
    assert (completion.state, completion.exit_code) == (AttemptState.STAGING_FAILED, 0)
    assert "could not be stored" in completion.reason


async def test_nothing_of_the_daemon_is_seen(
    launcher: ProcessLauncher, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "leaked")
    job = make_job(store, "env; pwd")
    await launcher.start(job)
    await ended(launcher)
    log, work = log_of(launcher, job.job), launcher.root / job.job / "work"
    assert "leaked" not in log
    assert store.server.secret_key not in log
    assert f"HOME={work}\n" in log
    assert f"\n{work}\n" in log
    assert "LANG=C.UTF-8\n" in log
    assert {line.partition("=")[0] for line in log.splitlines() if "=" in line} == {
        *("PATH", "HOME", "LANG", "TMPDIR", "PWD", "EVENT", "EVENT_TIME", "STORAGE_OBJECT_KEY", "INPUT_FILE_PATH"),
        *("TMP_INPUT_DIR", "TMP_OUTPUT_DIR", "JOB_UUID", "RESOURCE_ID", "OSCAR_JOB", "OSCAR_ATTEMPT"),
        *("OSCAR_SERVICE_NAME", "OSCAR_SERVICE_TOKEN"),
    }


async def test_keys_are_in_private_files_and_on_no_command_line(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, "sleep 60")
    await launcher.start(job)
    folder = launcher.root / job.job
    await content(folder / "started")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "environment").stat().st_mode & 0o777 == 0o600
    assert store.server.secret_key not in (folder / "spec.json").read_text()
    assert not any(store.server.secret_key.encode() in line for line in command_lines())
    await launcher.cancel(job.job)
    assert (await ended(launcher)).state is AttemptState.CANCELLED


async def test_cancel_lets_the_script_tidy_up(launcher: ProcessLauncher, store: Store, tmp_path: Path) -> None:
    job = make_job(store, f"trap 'touch {tmp_path}/told; exit 0' TERM; echo on >{tmp_path}/on; sleep 60 & wait")
    await launcher.start(job)
    await content(tmp_path / "on")
    await launcher.cancel(job.job)
    assert (await ended(launcher)).state is AttemptState.CANCELLED
    assert (tmp_path / "told").exists()


async def test_cancel_of_a_script_that_does_not_listen(launcher: ProcessLauncher, store: Store, tmp_path: Path) -> None:
    job = make_job(store, f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 1; done")
    await launcher.start(job)
    pid = await content(tmp_path / "pid")
    await launcher.cancel(job.job)
    assert (await ended(launcher)).state is AttemptState.CANCELLED
    assert not alive(pid)


async def test_unknown_jobs_are_ignored(launcher: ProcessLauncher) -> None:
    await launcher.cancel("no-such-job-1")
    await launcher.acknowledge("no-such-job-1")
    assert launcher.log("no-such-job-1") is None
    assert await launcher.adopt(["no-such-job-1"]) == set()


async def test_timeout(launcher: ProcessLauncher, store: Store) -> None:
    await launcher.start(make_job(store, "sleep 60", timeout=4))
    completion = await ended(launcher)
    assert completion.state is AttemptState.TIMEOUT
    assert "4 s" in completion.reason


FILL = """#!/usr/bin/env python3
import os, time
block = bytearray({size} << 20)
block[::4096] = b"x" * len(block[::4096])
"""


async def test_too_much_memory(launcher: ProcessLauncher, store: Store) -> None:
    await launcher.start(make_job(store, FILL.format(size=200) + "time.sleep(60)", memory=100 << 20))
    completion = await ended(launcher)
    assert completion.state is AttemptState.OOM
    assert str(100 << 20) in completion.reason


async def test_memory_that_processes_share_counts_once(launcher: ProcessLauncher, store: Store) -> None:
    four = FILL.format(size=60) + "os.fork()\nos.fork()\ntime.sleep(3)"
    await launcher.start(make_job(store, four, memory=140 << 20))
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED


async def test_what_the_script_leaves_running_ends(launcher: ProcessLauncher, store: Store, tmp_path: Path) -> None:
    leave = f"setsid sh -c 'echo $$ >{tmp_path}/pid; sleep 100' >/dev/null 2>&1 &"
    await launcher.start(make_job(store, f"{leave}\nwhile [ ! -s {tmp_path}/pid ]; do sleep 0.1; done"))
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED
    assert not alive(await content(tmp_path / "pid"))


async def test_a_long_log_is_capped(tmp_path: Path, store: Store) -> None:
    async with launching(tmp_path / "jobs", LauncherConfig(rclone=CONFIG.rclone, log_max=100_000)) as launcher:
        job = make_job(store, "echo first; yes 0123456789abcdef | head -n 1000000; echo last")
        await launcher.start(job)
        assert (await ended(launcher)).state is AttemptState.SUCCEEDED
        log = log_of(launcher, job.job)
        assert log.startswith("first\n")
        assert "\nlast\n" in log
        assert "left out" in log
        assert len(log) <= 110_000


async def test_the_log_can_be_read_while_it_is_written(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, "echo so far; sleep 60")
    await launcher.start(job)
    assert (await content(launcher.root / job.job / "log")).startswith("so far")
    assert log_of(launcher, job.job) == "so far\n"
    await launcher.cancel(job.job)
    await ended(launcher)


@pytest.mark.parametrize(
    ("config", "env", "message"),
    [
        (LauncherConfig(rclone="/no/such/rclone"), {}, r"launcher\.rclone"),
        (CONFIG, {"BAD": "nul\0"}, "variable 'BAD' of service step"),
        (CONFIG, {"A=B": "x"}, "variable 'A=B' of service step"),
    ],
)
async def test_what_cannot_be_started_says_why(
    tmp_path: Path, store: Store, config: LauncherConfig, env: dict[str, str], message: str
) -> None:
    async with launching(tmp_path / "jobs", config) as launcher:
        job = make_job(store, "true")
        with pytest.raises(LaunchError, match=message):
            await launcher.start(replace(job, env={**job.env, **env}))
        assert list(launcher.root.iterdir()) == []


async def test_an_environment_that_is_too_large(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, "true")
    await launcher.start(replace(job, env={**job.env, "LARGE": "x" * 200_000}))
    completion = await ended(launcher)
    assert completion.state is AttemptState.FAILED  # it would not fit at another try, either
    assert "Argument list too long" in completion.reason


# An engine that takes docker's command line. It runs the runner here instead of in a container: a container's paths are
# looked up among the mounts, and only what --env names is in the environment.
ENGINE = """#!{python}
import os, sys
with open({calls!r}, "a") as calls:
    print(*sys.argv[1:3], file=calls)
if sys.argv[1] == "inspect":
    print({oom!r})
elif sys.argv[1] == "run":
    pairs = list(zip(sys.argv, sys.argv[1:]))
    mounts = dict(reversed(value.removesuffix(":ro").split(":")) for name, value in pairs if name == "--volume")
    inside = {{value: os.environ[value] for name, value in pairs if name == "--env" and value in os.environ}}
    place = lambda path: mounts.get(path) or mounts[os.path.dirname(path)] + "/" + os.path.basename(path)
    for name in ("OSCAR_RCLONE", "OSCAR_SCRIPT", "OSCAR_RESULT"):
        inside[name] = place(inside[name])
    if "{die}":
        sys.exit({die})
    os.execve("/bin/sh", ["sh", place("/oscar/runner.sh")], inside)
"""


@pytest.mark.parametrize(
    ("die", "oom", "state"),
    [
        ("", "false", AttemptState.SUCCEEDED),
        ("137", "true", AttemptState.OOM),
        ("125", "", AttemptState.LAUNCH_FAILED),
    ],
)
async def test_jobs_in_containers(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, die: str, oom: str, state: AttemptState
) -> None:
    engine, calls = tmp_path / "engine", tmp_path / "calls"
    engine.write_text(ENGINE.format(python=sys.executable, calls=str(calls), die=die, oom=oom))
    engine.chmod(0o755)
    found = Engine("docker", str(engine))
    monkeypatch.setattr("oscar_fedcloud.launchers.process.launcher.find_engine", lambda: found)
    async with launching(tmp_path / "jobs", LauncherConfig(rclone=CONFIG.rclone, container="require")) as launcher:
        job = make_job(store, 'echo made >"$TMP_OUTPUT_DIR/$OSCAR_JOB"; env')
        await launcher.start(job)
        completion = await ended(launcher)
        assert completion.state is state
        assert completion.limits["memory"] == "docker"
        assert "rm --force" in calls.read_text()
        assert (f"out/{job.job}" in store.names("out/")) is (state is AttemptState.SUCCEEDED)
