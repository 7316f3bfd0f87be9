# SPDX-License-Identifier: Apache-2.0
"""Stores that services bring along: hanging, lying, changed and removed ones concern their own services alone."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts.hostile_s3 import HostileS3, listing, listing_row
from parts.minio import MinioServer
from parts.rclone_s3 import RcloneS3
from parts.site import Site, file_service, make_site, running_site
from parts.waiting import eventually

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
HANGING = 20  # stores; more than there are threads of any pool of the daemon


def reads_from(name: str, endpoint: str, access_key: str = "key", secret_key: str = "secret") -> dict[str, Any]:
    """A service with a store of its own as input."""
    store = {"endpoint": endpoint, "access_key": access_key, "secret_key": secret_key, "region": "us-east-1"}
    return file_service(
        name,
        COPY,
        storage_providers={"s3": {name: store}},
        input=[{"storage_provider": f"s3.{name}", "path": "data/in"}],
    )


def state(site: Site, name: str) -> tuple[str, str]:
    with site.daemon.client() as client:
        status = client.get(f"/v2/services/{name}").json()["status"]
    return status["state"], status["reason"]


def put(client: Any, bucket: str, key: str, body: bytes = b"content") -> None:
    client.put_object(bucket, key, io.BytesIO(body), len(body))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("foreign"), poll_interval=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[RcloneS3]:
    with RcloneS3() as server:
        yield server


def test_stores_that_hang_hold_up_nobody_else(tmp_path: Path) -> None:
    site = make_site(tmp_path, reconcile_interval=1.0, listing_interval=1.0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(site.minio)
        servers = [stack.enter_context(HostileS3([listing()], hold=True)) for _ in range(HANGING)]
        stack.enter_context(site.daemon)
        site.daemon.apply(*(reads_from(f"slow{number}", one.endpoint) for number, one in enumerate(servers)))
        eventually(lambda: all(server.requests for server in servers))
        declare_and_run(site, "first")
        site.daemon.stop()
        site.daemon.start()
        declare_and_run(site, "second")


def declare_and_run(site: Site, name: str) -> None:
    site.daemon.apply(file_service(name, COPY))
    site.daemon.wait_ready(name)
    put(site.minio.client(), name, "in/a")
    (job,) = site.daemon.wait_jobs(1, service=name)
    assert job["state"] == "succeeded"


def test_a_store_whose_listing_lies_is_told_of_and_the_rest_is_processed(site: Site) -> None:
    page = listing(listing_row("in/zoneless", modified="2099-01-01T00:00:00"), listing_row("in/bad", size="-1"))
    with HostileS3([page]) as server:
        site.daemon.apply(reads_from("liar", server.endpoint))
        site.daemon.wait_ready("liar")
        (job,) = eventually(lambda: site.daemon.jobs(service="liar"))
        assert job["key"] == "in/zoneless"
        declare_and_run(site, "honest")
    assert "in/bad" in site.daemon.log_file.read_text()


def test_a_store_that_answers_no_listing_puts_its_service_in_error(site: Site) -> None:
    with HostileS3("garbage") as server:
        site.daemon.apply(reads_from("nonsense", server.endpoint))
        eventually(lambda: state(site, "nonsense")[0] == "error")
        assert "s3.nonsense" in state(site, "nonsense")[1]
        site.daemon.remove("nonsense")
        asked = len(server.requests)
        declare_and_run(site, "sane")
        assert len(server.requests) <= asked + 1


def test_new_keys_and_another_endpoint_count_at_once(site: Site, other: RcloneS3, tmp_path: Path) -> None:
    other.client().make_bucket("data")
    service = reads_from("moves", other.endpoint, other.access_key, "wrong")
    site.daemon.apply(service)
    eventually(lambda: state(site, "moves")[0] == "error")
    site.daemon.apply(reads_from("moves", other.endpoint, other.access_key, other.secret_key))
    site.daemon.wait_ready("moves")
    put(other.client(), "data", "in/one")
    site.daemon.wait_jobs(1, service="moves")
    with MinioServer(tmp_path / "new") as new:
        new.client().make_bucket("data")
        put(new.client(), "data", "in/old")
        site.daemon.apply(reads_from("moves", new.endpoint, new.access_key, new.secret_key))
        site.daemon.wait_ready("moves")
        put(new.client(), "data", "in/two", b"other content")
        jobs = site.daemon.wait_jobs(2, service="moves")
        assert sorted((job["key"], job["state"]) for job in jobs) == [("in/one", "succeeded"), ("in/two", "succeeded")]


def test_the_run_of_a_store_that_is_gone_ends_with_the_reason(site: Site, other: RcloneS3) -> None:
    with contextlib.suppress(Exception):
        other.client().make_bucket("data")
    service = reads_from("leaves", other.endpoint, other.access_key, other.secret_key) | {"script": "sleep 600\n"}
    site.daemon.apply(service)
    site.daemon.wait_ready("leaves")
    put(other.client(), "data", "in/gone")
    (job,) = eventually(lambda: site.daemon.jobs(service="leaves"))
    site.daemon.apply(file_service("leaves", COPY))
    site.daemon.wait_ready("leaves")
    with site.daemon.client() as client:
        client.post(f"/v2/jobs/{job['id']}:cancel")
        eventually(lambda: client.get(f"/v2/jobs/{job['id']}").json()["state"] == "cancelled")
        assert client.post(f"/v2/jobs/{job['id']}:retry").status_code == 200
        detail = eventually(lambda: ended_attempts(client.get(f"/v2/jobs/{job['id']}").json(), 2))
    assert "s3.leaves" in json.dumps(detail)
    declare_and_run(site, "goes-on")


def ended_attempts(job: dict[str, Any], count: int) -> dict[str, Any] | None:
    ended = [one for one in job["attempt_list"] if one["finished"]]
    return job if len(ended) >= count else None
