# SPDX-License-Identifier: Apache-2.0
"""Whatever is killed and whenever: a Job's script starts once for each attempt, and its end is known."""

from __future__ import annotations

import asyncio
import json
import pickle
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from parts.jobs import Store
from parts.launching import CONFIG, alive, content, ended, kill_shim, launching, log_of, make_job
from parts.rclone_s3 import RcloneS3

from oscar_fedcloud.domain.runs import AttemptState
from oscar_fedcloud.launchers.port import JobSpec, LaunchError
from oscar_fedcloud.launchers.process.job_dir import JobDir
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher

INVOKER = """
import asyncio, pickle, sys
from pathlib import Path
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher

async def main():
    folder, config, specs = pickle.loads(Path(sys.argv[1]).read_bytes())
    launcher = ProcessLauncher(folder, config)
    print("ready", flush=True)
    found = await launcher.adopt([spec.job for spec in specs])
    for spec in specs:
        if spec.job not in found:
            await launcher.start(spec)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with RcloneS3() as server:
        yield Store(server)


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[ProcessLauncher]:
    async with launching(tmp_path / "jobs") as started:
        yield started


def start_invoker(launcher: ProcessLauncher, jobs: Sequence[JobSpec]) -> subprocess.Popen[bytes]:
    """A process that adopts or starts these Jobs; returns when it is about to."""
    file = launcher.root.parent / "invoker.pickle"
    file.write_bytes(pickle.dumps((launcher.root, CONFIG, list(jobs))))
    process = subprocess.Popen([sys.executable, "-c", INVOKER, str(file)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill as a crash would."""
    process.kill()
    process.communicate()


async def test_the_same_name_starts_once(launcher: ProcessLauncher, store: Store, tmp_path: Path) -> None:
    job = make_job(store, f"echo ran >>{tmp_path}/ran; sleep 1")
    others = [ProcessLauncher(launcher.root, CONFIG) for _ in range(3)]
    await asyncio.gather(*(each.start(job) for each in (launcher, *others, launcher)))
    assert {(await ended(each)).state for each in (launcher, *others)} == {AttemptState.SUCCEEDED}
    await launcher.start(job)
    assert (tmp_path / "ran").read_text() == "ran\n"
    for each in others:
        await each.close()


async def test_a_shim_that_comes_late_runs_nothing(launcher: ProcessLauncher, store: Store, tmp_path: Path) -> None:
    job = make_job(store, f"echo ran >>{tmp_path}/ran; sleep 1")
    with patch.object(JobDir, "started", False):  # as if two launchers had looked at the same time
        await launcher.start(job)
        await content(tmp_path / "ran")
        early = ProcessLauncher(launcher.root, CONFIG)
        await early.start(job)
    assert (await ended(early)).state is AttemptState.SUCCEEDED
    with patch.object(JobDir, "started", False):
        late = ProcessLauncher(launcher.root, CONFIG)
        await late.start(job)
    assert (await ended(late)).state is AttemptState.SUCCEEDED
    assert (tmp_path / "ran").read_text() == "ran\n"
    for each in (early, late):
        await each.close()


async def test_a_killed_shim_is_a_lost_job(launcher: ProcessLauncher, store: Store, tmp_path: Path) -> None:
    job = make_job(store, f"echo $$ >{tmp_path}/pid; sleep 60; touch {tmp_path}/finished")
    await launcher.start(job)
    script = await content(tmp_path / "pid")
    kill_shim(launcher, job.job)
    assert (await ended(launcher)).state is AttemptState.LOST
    assert not alive(script)
    assert not (tmp_path / "finished").exists()


async def test_what_goes_on_without_its_shim_is_ended(
    launcher: ProcessLauncher, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oscar_fedcloud.launchers.process.launcher._ORPHAN_GRACE", 1.0)
    deaf = f"setsid sh -c 'trap \"\" TERM; echo $$ >{tmp_path}/pid; while :; do sleep 1; done'"
    job = make_job(store, f"trap '' TERM; {deaf}")
    await launcher.start(job)
    script = await content(tmp_path / "pid")
    kill_shim(launcher, job.job)
    assert (await ended(launcher)).state is AttemptState.LOST
    assert not alive(script)


async def test_a_job_that_ended_well_without_its_shim_has_succeeded(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, "true")
    await launcher.start(job)
    await ended(launcher)
    (launcher.root / job.job / "status").unlink()  # as if the shim had been killed before it wrote it
    again = ProcessLauncher(launcher.root, CONFIG)
    assert await again.adopt([job.job]) == {job.job}
    assert (await ended(again)).state is AttemptState.SUCCEEDED
    await again.close()


async def test_jobs_outlive_a_killed_invoker(launcher: ProcessLauncher, store: Store, tmp_path: Path) -> None:
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
    slow = [make_job(store, f"echo $OSCAR_JOB >>{tmp_path}/ran; {wait}; echo over") for _ in range(2)]
    quick = make_job(store, f"echo $OSCAR_JOB >>{tmp_path}/ran; exit 4")
    invoker = start_invoker(launcher, [*slow, quick])
    await content(launcher.root / quick.job / "status")
    for job in slow:
        await content(launcher.root / job.job / "started")
    kill(invoker)
    names = {job.job for job in (*slow, quick)}
    assert await launcher.adopt([*names, "never-begun-1"]) == names
    (tmp_path / "go").touch()
    found = {completion.job: completion for completion in [await ended(launcher) for _ in names]}
    assert {found[job.job].state for job in slow} == {AttemptState.SUCCEEDED}
    assert (found[quick.job].state, found[quick.job].exit_code) == (AttemptState.FAILED, 4)
    assert sorted((tmp_path / "ran").read_text().split()) == sorted(names)
    assert log_of(launcher, slow[0].job).startswith("over\n")


async def test_invokers_killed_at_any_moment_start_every_script_once(
    launcher: ProcessLauncher, store: Store, tmp_path: Path
) -> None:
    jobs = [make_job(store, f"echo $OSCAR_JOB >>{tmp_path}/ran") for _ in range(12)]
    for _ in range(8):
        invoker = start_invoker(launcher, jobs)
        await asyncio.sleep(random.uniform(0, 0.15))
        kill(invoker)
    found = await launcher.adopt([job.job for job in jobs])
    for job in jobs:
        if job.job not in found:
            await launcher.start(job)
    ends = [await ended(launcher) for _ in jobs]
    assert {end.state for end in ends} == {AttemptState.SUCCEEDED}
    assert Counter((tmp_path / "ran").read_text().split()) == Counter(job.job for job in jobs)


async def test_a_job_that_was_made_but_not_begun_is_started(
    launcher: ProcessLauncher, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: object) -> int:
        raise OSError("killed")

    job = make_job(store, f"echo ran >>{tmp_path}/ran")
    with monkeypatch.context() as before:
        before.setattr("oscar_fedcloud.launchers.process.launcher._spawn_shim", die)
        with pytest.raises(LaunchError, match="killed"):
            await launcher.start(job)
    assert await launcher.adopt([job.job]) == set()
    await launcher.start(job)
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_a_job_that_is_cancelled_before_it_begins_never_begins(
    launcher: ProcessLauncher, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(store, f"echo ran >>{tmp_path}/ran")
    with monkeypatch.context() as before:
        before.setattr("oscar_fedcloud.launchers.process.launcher._spawn_shim", lambda _: None)
        await launcher.start(job)
    await launcher.cancel(job.job)
    again = ProcessLauncher(launcher.root, CONFIG)
    await again.start(job)
    assert (await ended(again)).state is AttemptState.CANCELLED
    assert not (tmp_path / "ran").exists()
    await again.close()


async def test_the_timeout_holds_while_no_invoker_runs(launcher: ProcessLauncher, store: Store) -> None:
    job = make_job(store, "sleep 60", timeout=3)
    await launcher.start(job)
    await launcher.close()
    assert json.loads(await content(launcher.root / job.job / "status"))["state"] == "timeout"


async def test_a_shim_that_cannot_work_is_no_launch(
    launcher: ProcessLauncher, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oscar_fedcloud.launchers.process.launcher._SHIM", "raise SystemExit('no disk')")
    await launcher.start(make_job(store, "true"))
    completion = await ended(launcher)
    assert completion.state is AttemptState.LAUNCH_FAILED
    assert "no disk" in completion.reason


async def test_old_logs_are_pruned(tmp_path: Path, store: Store) -> None:
    async with launching(tmp_path / "jobs", retention=-1.0) as launcher:
        job, other = make_job(store, "echo on"), make_job(store, "echo on")
        for each in (job, other):
            await launcher.start(each)
            await ended(launcher)
        assert launcher.log(job.job) is not None
        await launcher.acknowledge(job.job)
        assert [path.name for path in launcher.root.iterdir()] == [other.job]


async def test_logs_that_take_too_much_room_are_pruned_oldest_first(tmp_path: Path, store: Store) -> None:
    """A flood of logs must not fill the disk; one that has not been acknowledged stays whatever its size."""
    config = msgspec.structs.replace(CONFIG, log_total=25_000)
    async with launching(tmp_path / "jobs", config) as launcher:
        jobs = [make_job(store, "yes | head -c 9000") for _ in range(4)]
        for each in jobs:
            await launcher.start(each)
            await ended(launcher)
        for each in jobs[:3]:
            await launcher.acknowledge(each.job)
        assert launcher.log(jobs[0].job) is None
        assert all(launcher.log(each.job) is not None for each in jobs[1:])


async def test_what_an_earlier_life_recorded_leaves_no_keys_behind(tmp_path: Path, store: Store) -> None:
    """The end of the Job is in the ledger, but the invoker died before it acknowledged it."""
    async with launching(tmp_path / "jobs") as first:
        job = make_job(store, "echo on")
        await first.start(job)
        await ended(first)
    async with launching(tmp_path / "jobs") as second:
        assert await second.adopt([]) == set()
        assert not (second.root / job.job / "environment").exists()
        assert log_of(second, job.job).startswith("on")
