# SPDX-License-Identifier: Apache-2.0
"""Whatever a script does to the folder of its Job: the launcher lives, and the Job ends with a reason."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from parts.jobs import PROVIDER, Runner, Store, service, spec_of
from parts.launching import CONFIG, alive, content, ended, kill_shim, launching, log_of, make_job
from parts.rclone_s3 import RcloneS3

from oscar_fedcloud.domain.runs import AttemptState, StoredObject
from oscar_fedcloud.launchers.process.job_dir import JobDir
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher

FOLDER = 'J="$(dirname "$TMPDIR")"; R="$J/out/result";'
# The first fault of this kind: a writer that outlives the script, with a number that no ledger can hold.
FORGE = r"""
export R; setsid sh -c 'while :; do printf "phase=script\nexit=99999999999999999999\n" >"$R"; sleep 0.01; done' &
exit 0
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with RcloneS3() as server:
        yield Store(server)


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[ProcessLauncher]:
    async with launching(tmp_path / "jobs") as started:
        yield started


async def test_outputs_and_summary_are_told(launcher: ProcessLauncher, store: Store) -> None:
    script = 'printf hello >"$TMP_OUTPUT_DIR/$OSCAR_JOB"; echo "all well" >"$TMP_OUTPUT_DIR/.summary"'
    job = make_job(store, script)
    await launcher.start(job)
    completion = await ended(launcher)
    told = StoredObject(PROVIDER, "data", f"out/{job.job}", 5, "5d41402abc4b2a76b9719d911017c592")
    assert completion.outputs == (told,)
    assert (completion.outputs_total, completion.summary) == (1, "all well")


async def test_a_long_list_of_outputs_is_told(launcher: ProcessLauncher, store: Store) -> None:
    script = (
        'cd "$TMP_OUTPUT_DIR"; mkdir "$OSCAR_JOB"; for i in $(seq 300); do echo $i >"$OSCAR_JOB/a-long-name-$i"; done'
    )
    await launcher.start(make_job(store, script))
    completion = await ended(launcher)
    assert (completion.outputs_total, len(completion.outputs)) == (300, 300)


@pytest.mark.parametrize(
    "script",
    [
        FOLDER + FORGE,
        f"{FOLDER} head -c 100000 /dev/zero >$J/out/result.outputs; mkfifo $J/out/result.progress; rm -f $R; mkfifo $R",
        f"{FOLDER} rm -rf $J/log; mkfifo $J/log $J/log.1 $J/log.2 $J/cancel.x",
        f"{FOLDER} rm -rf $J/log; ln -s /dev/zero $J/log",
        f"{FOLDER} mkdir $J/status $J/status.new; touch $J/status/x",
        f"{FOLDER} mkfifo $J/status.new; ln -s /etc/passwd $J/reserve.x; rm -f $J/reserve; mkfifo $J/reserve",
        f"{FOLDER} rm -rf $J/out; mkfifo $J/out",
        f"{FOLDER} chmod 0 $J/out $J/work $J",
        f"{FOLDER} rm -f $J/spec.json; mkfifo $J/spec.json",
        f"{FOLDER} rm -f $J/lock; mkfifo $J/lock",
        "flock -u 9; flock -u 200; exec 9>&- 200>&-",
    ],
)
async def test_the_launcher_lives(launcher: ProcessLauncher, store: Store, script: str) -> None:
    job = make_job(store, script)
    await launcher.start(job)
    completion = await ended(launcher)
    assert completion.state in (AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.STAGING_FAILED)
    assert completion.state is AttemptState.SUCCEEDED or completion.reason
    assert completion.exit_code is None or 0 <= completion.exit_code <= 255
    launcher.progress(job.job)
    log = launcher.log(job.job)
    assert log is None or len(b"".join(log.chunks)) < 10**6
    again = ProcessLauncher(launcher.root, CONFIG)
    assert await again.adopt([job.job]) <= {job.job}
    await asyncio.wait_for(launcher.acknowledge(job.job), 20)
    await again.close()
    await launcher.start(make_job(store, "true"))
    assert (await ended(launcher)).state is AttemptState.SUCCEEDED


@pytest.mark.parametrize(
    "before",
    [
        'rm -f "$R"; mkfifo "$R"',
        'rm -f "$J/started"; mkfifo "$J/started"',
        'mkfifo "$J/status"',
        'mkdir "$J/status"',
        'echo \'{"state": "succeeded", "exit_code": 1e999, "reason": 5, "finished": "x", "limits": []}\' >"$J/status"',
        'python3 -c \'print("[" * 100000)\' >"$J/status"',
        'echo \'{"state": "no such state"}\' >"$J/status"',
        'rm -f "$J/lock"; mkfifo "$J/lock"',
        'mv "$J" "$J.elsewhere"',
    ],
)
async def test_a_script_that_ends_its_shim(launcher: ProcessLauncher, store: Store, before: str) -> None:
    """The loop of the daemon goes on, and the attempt ends."""
    job = make_job(store, f'{FOLDER} S=$(cat "$J/started"); {before}; kill -9 "$S"; sleep 1')
    await launcher.start(job)
    completion = await ended(launcher)
    assert completion.state in (AttemptState.LOST, AttemptState.FAILED)
    assert completion.reason


def test_a_status_that_a_script_wrote_is_bounded(tmp_path: Path) -> None:
    forged = '{"state": "failed", "exit_code": 99999999999999999999, "reason": "a\\u0000b\\ud800", '
    forged += '"finished": 1e300, "limits": {}}'
    folder = JobDir(tmp_path, "forged-0123-1")
    folder.path.mkdir()
    (folder.path / "started").write_text("1")
    (folder.path / "status").write_text(forged)
    found = folder.completion()
    assert found is not None
    assert (found.state, found.exit_code, found.finished) == (AttemptState.FAILED, None, None)
    found.reason.encode()
    assert "\0" not in found.reason


async def test_no_second_script_runs_while_the_first_one_lives(
    launcher: ProcessLauncher, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script lets go of all locks that it can reach, its shim dies, and the launcher is begun again."""
    monkeypatch.setattr("oscar_fedcloud.launchers.process.launcher._ORPHAN_GRACE", 1.0)
    hold = f"trap '' TERM HUP; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done"
    job = make_job(
        store, f'for fd in 3 5 9 200; do flock -u $fd; done; setsid sh -c "{hold}" >/dev/null 2>&1 & sleep 60'
    )
    await launcher.start(job)
    script = await content(tmp_path / "pid")
    kill_shim(launcher, job.job)
    again = ProcessLauncher(launcher.root, CONFIG)
    assert await again.adopt([job.job]) == {job.job}
    assert (await ended(again)).state is AttemptState.LOST
    assert not alive(script)
    await again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("where", ["$TMP_OUTPUT_DIR", "$HOME", "$TMPDIR"])
@pytest.mark.parametrize("end", ["exit 1", "yes | head -c 3000000; exit 1"])
async def test_a_full_disk_is_named(store: Store, small_disk: Path, where: str, end: str) -> None:
    async with launching(small_disk / "jobs") as launcher:
        job = make_job(store, f'echo begun; cat /dev/zero >"{where}/big"; {end}')
        await launcher.start(job)
        completion = await ended(launcher)
        assert completion.state is AttemptState.FAILED
        assert "no space left in" in completion.reason
        assert log_of(launcher, job.job).startswith("begun\n")


async def test_an_input_that_does_not_fit_is_no_wait(store: Store, small_disk: Path) -> None:
    async with launching(small_disk / "jobs") as launcher:
        event = store.put("in/large", b"x" * 6_000_000)
        await launcher.start(spec_of(store, service("echo ran"), event, log_bucket=""))
        completion = await ended(launcher)
        assert completion.state is AttemptState.STAGING_FAILED
        assert "no space left in" in completion.reason


async def test_a_store_that_is_away_shows_as_progress(launcher: ProcessLauncher, tmp_path: Path) -> None:
    with RcloneS3() as near, RcloneS3() as far:
        store = Store(near)
        of = service(
            f'echo x >"$TMP_OUTPUT_DIR/x"; touch {tmp_path}/on; while [ -e {tmp_path}/on ]; do sleep 0.1; done',
            output=[
                {"storage_provider": PROVIDER, "path": "data/near"},
                {"storage_provider": "minio.far", "path": "b"},
            ],
            storage_providers={"minio": {"far": {"endpoint": far.endpoint, "access_key": "a", "secret_key": "s"}}},
        )
        job = spec_of(store, of, store.put("in/away", b"x"), log_bucket="")
        remote = {name: value for name, value in job.secrets.items() if name.startswith("RCLONE_CONFIG_MINIO_DEFAULT")}
        away = {
            name.replace("DEFAULT", "FAR"): value.replace(near.endpoint, far.endpoint) for name, value in remote.items()
        }
        await launcher.start(replace(job, secrets={**job.secrets, **away}))
        await content_exists(tmp_path / "on")
        far.stop()
        await asyncio.to_thread((tmp_path / "on").unlink)
        async with asyncio.timeout(60):
            while not (told := launcher.progress(job.job)):  # noqa: ASYNC110  another process writes it
                await asyncio.sleep(0.1)
        assert told.startswith("the output files could not be stored (output 1) yet: tried again until ")
        assert told.endswith(" UTC")
        assert launcher.waiting(job.job) is None
        await launcher.cancel(job.job)
        await ended(launcher)


async def content_exists(path: Path) -> None:
    async with asyncio.timeout(60):
        while not path.exists():  # noqa: ASYNC110, ASYNC240  another process makes it
            await asyncio.sleep(0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to become another user")
def test_an_unreadable_file_is_named(store: Store, tmp_path: Path) -> None:
    script = 'cd "$TMP_OUTPUT_DIR"; echo good >good; echo secret >closed; chmod 0 closed'
    output = [{"storage_provider": PROVIDER, "path": "data/unreadable"}]
    job = spec_of(store, service(script, output=output), store.put("in/unreadable", b"x"), log_bucket="")
    found = Runner(job, user=65534).wait()
    assert (found.code, found.phase) == (120, "stage_out")
    assert "closed" in found.reason
    assert "permission denied" in found.reason
    assert store.names("unreadable/") == ["unreadable/good"]
