# SPDX-License-Identifier: Apache-2.0
"""The OSCAR-compatible routes, as oscar-cli, oscar-python and the acceptance suite use them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec import structs
from parts.api_invoker import ApiInvoker, event

from oscar_fedcloud import __version__
from oscar_fedcloud.domain.runs import RunState

SERVICES = "/system/services"

# What a Go client sends for a service: every field of its structs, most of them zero.
GO_SERVICE = {
    "cluster_id": "",
    "name": "cowsay",
    "memory": "256Mi",
    "cpu": "0.2",
    "total_memory": "",
    "total_cpu": "",
    "enable_gpu": False,
    "enable_sgx": False,
    "image_prefetch": False,
    "synchronous": {"min_scale": 0, "max_scale": 0},
    "log_level": "",
    "image": "ghcr.io/grycap/cowsay",
    "alpine": False,
    "script": "#!/bin/sh\ncat $INPUT_FILE_PATH | cowsay\n",
    "token": "",
    "file_stage_in": False,
    "image_pull_secrets": None,
    "expose": {
        "min_scale": 0,
        "max_scale": 0,
        "api_port": None,
        "cpu_threshold": 0,
        "rewrite_target": False,
        "default_command": False,
        "set_auth": False,
        "health_path": "",
    },
    "environment": {"Variables": {"A": "b"}, "secrets": None},
    "annotations": None,
    "labels": None,
    "input": None,
    "output": None,
    "storage_providers": None,
    "clusters": None,
    "owner": "",
    "vo": "",
    "namespace": "",
    "visibility": "",
    "allowed_users": None,
    "isolation_level": "",
    "bucket_list": None,
    "mount": {"storage_provider": "", "path": ""},
    "volume": None,
}


async def test_the_life_of_a_service(admin: httpx.AsyncClient) -> None:
    created = await admin.post(SERVICES, json=GO_SERVICE)
    assert (created.status_code, created.content) == (201, b"")

    twice = await admin.post(SERVICES, json=GO_SERVICE)
    assert (twice.status_code, twice.headers["content-type"]) == (409, "text/plain; charset=utf-8")
    assert "already exists" in twice.text

    read = await admin.get(f"{SERVICES}/cowsay")
    assert read.status_code == 200
    assert len(read.json()["token"]) == 64
    assert read.json()["labels"]["oscar_service"] == "cowsay"
    listed = (await admin.get(SERVICES)).json()
    assert listed == [read.json()]

    updated = await admin.put(SERVICES, json={**GO_SERVICE, "memory": "1Gi"})
    assert (updated.status_code, updated.content) == (204, b"")
    after = (await admin.get(f"{SERVICES}/cowsay")).json()
    assert (after["memory"], after["token"]) == ("1Gi", read.json()["token"])

    assert (await admin.delete(f"{SERVICES}/cowsay")).status_code == 204
    assert (await admin.delete(f"{SERVICES}/cowsay")).status_code == 404
    assert (await admin.get(f"{SERVICES}/cowsay")).status_code == 404
    assert (await admin.put(SERVICES, json=GO_SERVICE)).status_code == 404


@pytest.mark.parametrize("content_type", [None, "text/json", "application/json", "application/x-www-form-urlencoded"])
async def test_any_content_type_is_taken(admin: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await admin.post(SERVICES, content=json.dumps(GO_SERVICE).encode(), headers=headers)
    assert answer.status_code == 201


async def test_a_body_in_chunks_is_taken(admin: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        text = json.dumps(GO_SERVICE).encode()
        for start in range(0, len(text), 100):
            yield text[start : start + 100]

    assert (await admin.post(SERVICES, content=chunks())).status_code == 201


async def test_json_is_compact_and_in_the_order_of_go(admin: httpx.AsyncClient) -> None:
    await admin.post(SERVICES, json={**GO_SERVICE, "total_memory": "2Gi"})
    text = (await admin.get(f"{SERVICES}/cowsay")).text
    assert '"name":"cowsay"' in text
    assert '"oscar_service":"cowsay"' in text
    # oscar-batch cuts values out between these neighbours.
    assert text.partition('"token":"')[2].partition('","file_stage_in')[0].isalnum()
    assert text.partition('"cpu":"')[2].partition('","total_memory')[0] == "0.2"
    assert "api_port" not in text  # of a service that is not exposed: clients of v3 and v4 disagree on its type


@pytest.mark.parametrize("port", [8080, [8080]])
async def test_an_exposed_port_may_be_a_number_or_a_list(admin: httpx.AsyncClient, port: Any) -> None:
    body = {**GO_SERVICE, "expose": {**GO_SERVICE["expose"], "api_port": port}}  # type: ignore[dict-item]
    assert (await admin.post(SERVICES, json=body)).status_code == 201
    assert (await admin.get(f"{SERVICES}/cowsay")).json()["expose"]["api_port"] == [8080]


async def test_unknown_fields_are_kept_and_names_may_be_in_any_case(admin: httpx.AsyncClient) -> None:
    body = {name.upper() if name == "memory" else name: value for name, value in GO_SERVICE.items()}
    assert (await admin.post(SERVICES, json={**body, "rescheduler_v9": {"a": 1}})).status_code == 201
    shown = (await admin.get(f"{SERVICES}/cowsay")).json()
    assert shown["rescheduler_v9"] == {"a": 1}
    assert shown["memory"] == "256Mi"
    assert shown["environment"]["variables"] == {"A": "b"}


async def test_the_sites_store_is_shown_with_hidden_keys_and_secrets_are_blank(
    admin: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    await admin.post(SERVICES, json=document)
    shown = (await admin.get(f"{SERVICES}/grayify")).json()
    assert shown["storage_providers"]["minio"]["default"] == {
        "endpoint": "https://s3.example.org",
        "verify": True,
        "access_key": "hidden",
        "secret_key": "hidden",
        "region": "us-east-1",
    }
    assert shown["environment"]["secrets"] == {"API_KEY": ""}


async def test_errors_are_text_unless_problem_details_are_asked_for(admin: httpx.AsyncClient) -> None:
    broken = {**GO_SERVICE, "memory": "lots", "cpu": "many"}
    text = await admin.post(SERVICES, json=broken)
    assert (text.status_code, text.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert "service.memory" in text.text
    assert "service.cpu" in text.text
    problem = await admin.post(SERVICES, json=broken, headers={"Accept": "application/problem+json"})
    assert problem.status_code == 422
    assert len(problem.json()["errors"]) == 2
    for body in (b"", b"{", b"[]", b"null"):
        assert (await admin.post(SERVICES, content=body)).status_code == 400


async def test_deleting_keeps_the_data(admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]) -> None:
    invoker.store.content["pictures"] = {"in/a.jpg": b"picture"}
    await admin.post(SERVICES, json=document)
    await admin.delete(f"{SERVICES}/grayify")
    assert invoker.store.content["pictures"] == {"in/a.jpg": b"picture"}


class TestJobs:
    async def test_starting(self, admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
        await admin.post(SERVICES, json=GO_SERVICE)
        started = await admin.post("/job/cowsay", content=b"\x00any bytes\xff", headers={"X-Delegated-Job-ID": "d-1"})
        assert (started.status_code, started.content) == (201, b"")
        job = (await admin.get(f"/v2/jobs/{started.headers['x-oscar-job-id']}")).json()
        assert (job["service"], job["via"]) == ("cowsay", "http")
        assert invoker.submitted == [("cowsay", b"\x00any bytes\xff", "", "d-1")]
        assert (await admin.post("/job/nosuch", content=b"x")).status_code == 404

    @pytest.mark.parametrize(
        ("media", "encoded"),
        [
            ("", True),
            ("application/json", True),
            ("text/json", True),
            ("text/plain; charset=utf-8", False),
            ("application/octet-stream", False),
            ("application/x-www-form-urlencoded", False),
        ],
    )
    async def test_the_content_type_says_whether_a_body_may_be_base64(
        self, admin: httpx.AsyncClient, invoker: ApiInvoker, media: str, encoded: bool
    ) -> None:
        await admin.post(SERVICES, json=GO_SERVICE)
        headers = {"Content-Type": media} if media else {}
        assert (await admin.post("/job/cowsay", content=b"password", headers=headers)).status_code == 201
        assert invoker.encoded == [encoded]

    async def test_no_body_is_a_body(self, admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
        await admin.post(SERVICES, json=GO_SERVICE)
        assert (await admin.post("/job/cowsay")).status_code == 201
        assert invoker.submitted[0][1] == b""

    async def test_synchronous_calls_are_not_available(self, admin: httpx.AsyncClient) -> None:
        await admin.post(SERVICES, json=GO_SERVICE)
        answer = await admin.post("/run/cowsay", content=b"x")
        assert (answer.status_code, answer.text) == (501, "synchronous invocation is not available on this server")
        assert (await admin.post("/run/nosuch", content=b"x")).status_code == 404


class TestLogs:
    @pytest.fixture
    async def runs(self, admin: httpx.AsyncClient, invoker: ApiInvoker) -> list[Any]:
        """One run in each state that OSCAR knows: pending, running, succeeded, failed."""
        await admin.post(SERVICES, json=GO_SERVICE)
        runs = [await invoker.record("cowsay", event("b", f"k{number}")) for number in range(4)]
        runs[1] = invoker.begin(runs[1], log=b"one\ntwo\n")
        runs[2] = invoker.end(invoker.begin(runs[2], log=b"moo\n"), RunState.SUCCEEDED)
        runs[3] = invoker.end(invoker.begin(runs[3]), RunState.FAILED)
        return runs

    async def test_the_list(self, admin: httpx.AsyncClient, runs: list[Any]) -> None:
        answer = (await admin.get("/system/logs/cowsay")).json()
        assert (answer["next_page"], answer["remaining_jobs"]) == ("", 0)
        assert all(name.startswith("cowsay-") for name in answer["jobs"])
        by_run = {name.split("-")[1]: job for name, job in answer["jobs"].items()}
        assert [by_run[run.id]["status"] for run in runs] == ["Pending", "Running", "Succeeded", "Failed"]
        assert list(by_run[runs[0].id]) == ["status", "creation_time"]
        assert list(by_run[runs[1].id]) == ["status", "creation_time", "start_time"]
        assert list(by_run[runs[2].id]) == ["status", "creation_time", "start_time", "finish_time"]
        assert (await admin.get("/system/logs/nosuch")).status_code == 404

    async def test_the_list_comes_in_pages_of_70(self, admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
        await admin.post(SERVICES, json=GO_SERVICE)
        for number in range(150):
            await invoker.record("cowsay", event("b", f"k{number}"))
        seen: list[str] = []
        page, sizes = "", []
        while True:
            answer = (await admin.get("/system/logs/cowsay", params={"page": page})).json()
            sizes.append((len(answer["jobs"]), answer["remaining_jobs"]))
            seen += answer["jobs"]
            page = answer["next_page"]
            if not page:
                break
        assert sizes == [(70, 80), (70, 10), (10, 0)]
        assert len(set(seen)) == 150
        for wrong in ("x", "7.x", "..", "7"):
            assert (await admin.get("/system/logs/cowsay", params={"page": wrong})).status_code in (200, 400)

    async def test_the_text_of_one(self, admin: httpx.AsyncClient, runs: list[Any]) -> None:
        log = await admin.get(f"/system/logs/cowsay/cowsay-{runs[2].id}-1")
        assert (log.status_code, log.text) == (200, "moo\n")
        assert log.headers["content-type"] == "text/plain; charset=utf-8"
        for name in (f"cowsay-{runs[3].id}-1", f"cowsay-{runs[2].id}-7", f"cowsay-{runs[2].id}-x", "cowsay-nosuch-1"):
            assert (await admin.get(f"/system/logs/cowsay/{name}")).status_code == 404

    async def test_a_job_of_another_service_is_not_found(self, admin: httpx.AsyncClient, runs: list[Any]) -> None:
        await admin.post(SERVICES, json={**GO_SERVICE, "name": "other"})
        assert (await admin.get(f"/system/logs/other/cowsay-{runs[2].id}-1")).status_code == 404
        assert (await admin.delete(f"/system/logs/other/cowsay-{runs[2].id}-1")).status_code == 404

    async def test_removing_one(self, admin: httpx.AsyncClient, invoker: ApiInvoker, runs: list[Any]) -> None:
        for run in runs:
            assert (await admin.delete(f"/system/logs/cowsay/cowsay-{run.id}-1")).status_code == 204
        assert invoker.ledger.runs() == []

    async def test_removing_the_succeeded(self, admin: httpx.AsyncClient, invoker: ApiInvoker, runs: list[Any]) -> None:
        assert (await admin.delete("/system/logs/cowsay")).status_code == 204
        assert {run.id for run in invoker.ledger.runs()} == {runs[0].id, runs[1].id, runs[3].id}

    async def test_removing_all(self, admin: httpx.AsyncClient, invoker: ApiInvoker, runs: list[Any]) -> None:
        assert (await admin.delete("/system/logs/cowsay?all=true")).status_code == 204
        assert invoker.ledger.runs() == []
        assert (await admin.delete("/system/logs/nosuch")).status_code == 404


class TestSystem:
    @pytest.mark.parametrize("path", ["/system/config", "/system/config/"])
    async def test_config(self, admin: httpx.AsyncClient, path: str) -> None:
        answer = await admin.get(path)
        assert '"name":"oscar"' in answer.text
        assert answer.json()["minio_provider"] == {
            "endpoint": "https://s3.example.org",
            "verify": True,
            "access_key": "site-access",
            "secret_key": "site-secret",
            "region": "us-east-1",
        }
        assert answer.json()["allowed_image_repositories"] == []

    async def test_config_can_keep_the_stores_keys(self, admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
        invoker.config = structs.replace(invoker.config, show_store_keys=False)
        provider = (await admin.get("/system/config")).json()["minio_provider"]
        assert (provider["access_key"], provider["secret_key"]) == ("hidden", "hidden")

    async def test_info(self, admin: httpx.AsyncClient) -> None:
        info = (await admin.get("/system/info")).json()
        assert list(info) == ["version", "git_commit", "architecture", "kubernetes_version", "serverless_backend"]
        assert info["version"] == __version__

    async def test_status(self, admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
        invoker.store.content = {"a": {}, "b": {}}
        run = await invoker.record("cowsay", event("b", "k"))
        await invoker.record("cowsay", event("b", "l"))
        invoker.begin(run)
        status = (await admin.get("/system/status")).json()
        assert status["oscar"]["pods"] == {"total": 2, "states": {"Pending": 1, "Running": 1}}
        assert status["oscar"]["jobs_count"] == 2
        assert status["oscar"]["ready"] is True
        assert status["minio"]["buckets_count"] == 2
        assert status["cluster"]["metrics"]["memory"]["total_free_bytes"] > 0

    @pytest.mark.parametrize("path", ["/health", "/health/"])
    async def test_health(self, client: Any, path: str) -> None:
        answer = await client().get(path)
        assert (answer.status_code, answer.text) == (200, "Ok")
