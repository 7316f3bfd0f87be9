# SPDX-License-Identifier: Apache-2.0
"""What is old goes, whatever it is called; what a job still needs stays."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from minio import Minio
from minio.error import S3Error
from parts.minio import MinioServer
from parts.site import Site, file_service, running_site
from parts.waiting import eventually

from oscar_fedcloud.config import Config, ProviderConfig
from oscar_fedcloud.daemon.housekeeping import Housekeeping
from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, Completion, RunState, run_id
from oscar_fedcloud.launchers.runner.environment import job_of_path, log_path
from oscar_fedcloud.ledger import Ledger, RunTransition
from oscar_fedcloud.storage.registry import make_provider
from oscar_fedcloud.storage.stores import StoreRegistry

# The client writes any of these; not every one fits into the XML that deletes many at once.
ODD = ["svc/\x01x", "svc/\x1f\x7f", "svc/\ufffe", "svc/a\r\nb", "svc/%25 +&<>\"'", "svc/日本", "svc/😀"]
INTERNAL, LOGS = "oscar-internal", "oscar-logs"
RETENTION = 3600.0


@pytest.fixture
def minio(tmp_path: Path) -> Iterator[MinioServer]:
    with MinioServer(tmp_path / "minio") as server:
        for bucket in (INTERNAL, LOGS):
            server.client().make_bucket(bucket)
        yield server


@pytest.fixture
async def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


def put(client: Minio, bucket: str, key: str) -> None:
    client.put_object(bucket, key, io.BytesIO(b"x"), 1)


def keys(client: Minio, bucket: str) -> set[str]:
    return {row.object_name for row in client.list_objects(bucket, recursive=True)}


class Launcher:
    """Has nothing to collect."""

    async def collect(self, current: dict[str, str]) -> None:
        raise RuntimeError("this part fails, the others are done nevertheless")


class Catalogue:
    entries: ClassVar[dict[str, object]] = {}


async def keep_house(minio: MinioServer, ledger: Ledger, ahead: float) -> None:
    """As the daemon does, ``ahead`` seconds from now."""
    config = Config(data_dir="/nowhere", providers={}, retention=RETENTION - ahead)
    settings = ProviderConfig(
        type="minio", endpoint=minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key
    )
    stores = StoreRegistry({"minio.default": make_provider("minio.default", settings)}, "minio.default")
    await Housekeeping(config, ledger, stores, Launcher(), Catalogue()).once()
    stores.close()


async def record(ledger: Ledger, key: str) -> str:
    event = StorageEvent("minio.default", INTERNAL, key, "r", 1)
    await ledger.record(Recording(event, ("svc",), EventOutcome.MATCHED))
    return run_id("svc", event)


async def begun(ledger: Ledger, key: str) -> tuple[str, str]:
    """A run and its Job."""
    name = await record(ledger, key)
    job = f"svc-{name}-1"
    await asyncio.to_thread(ledger.begin, [(name, job)], [], 1.0)
    return name, job


def ended(ledger: Ledger, job: str, state: RunState, finished: float) -> None:
    outcome = AttemptState.SUCCEEDED if state is RunState.SUCCEEDED else AttemptState.FAILED
    ledger.finish(job, Completion(job, outcome, 0, finished=finished), RunTransition(state))


async def test_what_a_job_needs_stays_and_the_rest_goes_whatever_its_name(minio: MinioServer, ledger: Ledger) -> None:
    client = minio.client()
    await record(ledger, "svc/queued")
    _, running = await begun(ledger, "svc/running")
    _, failed = await begun(ledger, "svc/failed")
    _, old = await begun(ledger, "svc/old")
    ended(ledger, failed, RunState.FAILED, finished=1e10)
    ended(ledger, old, RunState.SUCCEEDED, finished=5.0)
    for key in ("svc/queued", "svc/running", "svc/failed", "svc/old", "svc/nobody", *ODD):
        put(client, INTERNAL, key)
    for job in (running, failed, old):
        put(client, LOGS, log_path("svc", job))
    for key in (*ODD, "svc/what-a-job-wrote", f"svc/{failed}.tar"):
        put(client, LOGS, key)
    before = keys(client, INTERNAL), keys(client, LOGS)
    await keep_house(minio, ledger, ahead=0.0)
    assert (keys(client, INTERNAL), keys(client, LOGS)) == before  # nothing is old yet
    await keep_house(minio, ledger, ahead=RETENTION + 60)
    assert keys(client, INTERNAL) == {"svc/queued", "svc/running", "svc/failed"}
    assert keys(client, LOGS) == {log_path("svc", running), log_path("svc", failed)}


def test_a_bucket_with_odd_names_is_deleted_with_its_data(minio: MinioServer) -> None:
    client = minio.client()
    client.make_bucket("odd")
    for key in (*ODD, "plain"):
        put(client, "odd", key)
    settings = ProviderConfig(
        type="minio", endpoint=minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key
    )
    make_provider("minio.default", settings).delete_bucket("odd", data=True)
    with pytest.raises(S3Error, match="NoSuchBucket"):
        keys(client, "odd")


def test_only_what_the_runner_writes_is_of_a_job() -> None:
    assert job_of_path("svc/svc-abc-1.log") == job_of_path("svc/svc-abc-1.outputs") == "svc-abc-1"
    for key in ("svc/x", "x.log", "/x.log", "svc/a/x.log", "svc/x.tar", ""):
        assert job_of_path(key) == ""


def test_bodies_of_jobs_that_wait_outlive_the_retention(tmp_path: Path) -> None:
    with running_site(tmp_path, retention=0.5, launcher=serial(tmp_path)) as site:
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        site.daemon.apply(file_service("waits", f'cat "$INPUT_FILE_PATH" >> {tmp_path}/seen\n', input=[]))
        site.daemon.apply(file_service("holds", f"read line < {gate}\n", input=[]))
        site.daemon.wait_ready("waits", "holds")
        submit(site, "holds", b"first")
        submit(site, "waits", b"the body")
        eventually(lambda: [job["state"] for job in site.daemon.jobs(service="holds")] == ["running"])
        site.daemon.stop()
        site.daemon.start()  # keeps house at once, by which time everything is old
        gate.write_text("go\n")
        (job,) = site.daemon.wait_jobs(1, service="waits")
        assert job["state"] == "succeeded"
        assert (tmp_path / "seen").read_bytes() == b"the body"


def serial(folder: Path) -> dict[str, object]:
    from parts.daemon import Daemon

    settings = Daemon(folder / "unused").settings["launcher"]
    return {**settings, "max_running": 1}


def submit(site: Site, service: str, body: bytes) -> None:
    with site.daemon.client() as client:
        assert client.post(f"/job/{service}", content=body).status_code < 300
