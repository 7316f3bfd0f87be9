# SPDX-License-Identifier: Apache-2.0
"""A forged time, or the clock of a store that was wrong, never silences the uploads that come later."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from parts.site import Site, file_service, running_site
from parts.waiting import eventually

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
FUTURE = "7FFFFFFFFFFFFFFF"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("order")) as running:
        yield running


def declare(site: Site, name: str) -> str:
    """Declare a service; returns its token."""
    site.daemon.apply(file_service(name, COPY))
    site.daemon.wait_ready(name)
    with site.daemon.client() as client:
        token: str = client.get(f"/system/services/{name}").json()["token"]
        return token


def put(site: Site, bucket: str, key: str, body: bytes) -> None:
    site.minio.client().put_object(bucket, key, io.BytesIO(body), len(body))


def record(bucket: str, key: str, sequencer: str, **item: Any) -> dict[str, Any]:
    part = {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": sequencer, "eTag": "forged", **item}}
    return {
        "Records": [
            {
                "eventSource": "minio:s3",
                "eventName": "s3:ObjectCreated:Put",
                "eventTime": "2026-01-01T00:00:00.000Z",
                "s3": part,
            }
        ]
    }


def succeeded(site: Site, service: str) -> int:
    return len([job for job in site.daemon.jobs(service=service) if job["state"] == "succeeded"])


@pytest.mark.parametrize("sequencer", [FUTURE, "FFFFFFFFFFFFFFFF", "1EAE6B1867E3AF30"])
def test_a_record_with_a_forged_time_silences_nothing(site: Site, sequencer: str) -> None:
    name = f"forged{sequencer[:2].lower()}"
    token = declare(site, name)
    put(site, name, "in/a", b"first")
    site.daemon.wait_jobs(1, service=name)
    answer = httpx.post(
        f"{site.daemon.url}/job/{name}",
        json=record(name, "in%2Fa", sequencer, size=5),
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code < 300
    for number in range(2):
        put(site, name, "in/a", b"later %d" % number)
        eventually(lambda number=number: succeeded(site, name) >= 2 + number)


def test_a_record_of_an_object_that_is_not_there_is_refused(site: Site) -> None:
    token = declare(site, "absent")
    answer = httpx.post(
        f"{site.daemon.url}/job/absent",
        json=record("absent", "in%2Fnothing", FUTURE),
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 400
    assert "does not exist" in answer.text


@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
def test_an_event_of_a_store_whose_clock_was_wrong_silences_nothing(site: Site, before: bool) -> None:
    name = f"clock{int(before)}"
    declare(site, name)
    if before:
        put(site, name, "in/a", b"first")
        site.daemon.wait_jobs(1, service=name)
    answer = httpx.post(
        f"{site.daemon.url}/hooks/minio/minio.default/durable",
        json=record(name, "in%2Fa", FUTURE, size=5),
        headers={"Authorization": f"Bearer {site.minio.durable_token}"},
    )
    assert answer.status_code == 200
    done = int(before)
    for number in range(3):
        put(site, name, "in/a", b"upload %d" % number)
        eventually(lambda number=number: succeeded(site, name) >= done + 1 + number)


def test_bodies_that_are_nested_too_deeply_are_refused_or_kept(site: Site) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    token = declare(site, "deep")
    answer = httpx.post(f"{site.daemon.url}/job/deep", content=deep, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 400
    assert "nested too deeply" in answer.text
    for way, secret in (("fast", site.minio.fast_token), ("durable", site.minio.durable_token)):
        answer = httpx.post(
            f"{site.daemon.url}/hooks/minio/minio.default/{way}",
            content=b'{"Records":[' + deep + b"]}",
            headers={"Authorization": f"Bearer {secret}"},
        )
        assert answer.status_code == 200
    with site.daemon.client() as client:
        letters = json.dumps(client.get("/v2/dead-letters").json())
    assert letters.count("recursion") >= 2
