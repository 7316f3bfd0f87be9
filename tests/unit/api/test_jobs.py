# SPDX-License-Identifier: Apache-2.0
"""Jobs under /v2, dead letters, and the answers to "why did this file not run"."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from parts.api_invoker import ODD_KEYS, ApiInvoker, event

from oscar_fedcloud.domain.runs import Run, RunState

Add = Callable[..., Awaitable[Run]]


@pytest.fixture
async def add(admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]) -> Add:
    """Puts runs into the ledger."""
    await admin.put("/v2/services/grayify", json=document)

    async def record(key: str = "in/a.jpg", service: str = "grayify", bucket: str = "pictures") -> Run:
        return await invoker.record(service, event(bucket, key))

    return record


async def test_starting_a_job(admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]) -> None:
    await admin.put("/v2/services/grayify", json=document)
    started = await admin.post("/v2/services/grayify/jobs", content=b"\x00\xff body")
    assert started.status_code == 202
    job = started.json()
    assert started.headers["location"] == f"/v2/jobs/{job['id']}"
    assert started.headers["x-oscar-job-id"] == job["id"]
    assert invoker.submitted == [("grayify", b"\x00\xff body", "", "")]
    assert (await admin.get(started.headers["location"])).json()["state"] == "queued"
    assert (await admin.post("/v2/services/nosuch/jobs", content=b"x")).status_code == 404


async def test_one_job_with_its_attempts(admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
    run = invoker.end(invoker.begin(await add()), RunState.SUCCEEDED)
    job = (await admin.get(f"/v2/jobs/{run.id}")).json()
    attempts = job.pop("attempt_list")
    assert list(job) == [
        *("id", "service", "state", "reason", "waiting"),
        *("provider", "bucket", "key", "revision", "size", "etag", "attempts"),
        *("created", "finished", "depth", "via", "outputs", "outputs_total", "summary", "origin"),
    ]
    assert (job["service"], job["state"], job["attempts"]) == ("grayify", "succeeded", 1)
    assert (job["bucket"], job["key"], job["size"]) == ("pictures", "in/a.jpg", 1)
    assert job["created"].endswith("Z")
    assert job["finished"] >= job["created"]
    (attempt,) = attempts
    assert list(attempt) == [
        "number",
        "job",
        "state",
        "exit_code",
        "reason",
        "started",
        "finished",
        "limits",
        "summary",
    ]
    assert (attempt["number"], attempt["state"], attempt["exit_code"]) == (1, "succeeded", 0)
    assert attempt["job"] == f"grayify-{run.id}-1"
    assert attempt["limits"] == {"memory": "watched"}
    assert (await admin.get("/v2/jobs/nosuch")).json()["detail"] == "job nosuch does not exist"


async def test_a_waiting_job_says_what_for(admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
    run = await add()
    invoker.dispatcher.max_running = 3
    invoker.dispatcher.running["other"] = 3
    detail = "waits for a free place: the site runs 3 of 3 jobs"
    (listed,) = (await admin.get("/v2/jobs")).json()["jobs"]
    one = (await admin.get(f"/v2/jobs/{run.id}")).json()
    for job in (listed, one):
        assert (job["waiting"], job["reason"]) == ({"code": "site_limit", "detail": detail}, detail)
    (waiting,) = (await admin.get("/v2/backlog")).json()["waiting"]
    assert waiting == {"service": "grayify", "code": "site_limit", "count": 1, "detail": detail}
    invoker.begin(run)
    invoker.jobs.held_up[f"grayify-{run.id}-1"] = "the output files could not be stored yet"
    running = (await admin.get(f"/v2/jobs/{run.id}")).json()
    assert (running["waiting"], running["reason"]) == (None, "the output files could not be stored yet")


async def test_pages_of_outputs_and_chains_of_unknown_jobs(admin: httpx.AsyncClient, add: Add) -> None:
    run = await add()
    assert (await admin.get(f"/v2/jobs/{run.id}/outputs")).json() == {"outputs": [], "total": 0, "cursor": ""}
    chain = (await admin.get(f"/v2/jobs/{run.id}/chain")).json()
    assert ([job["id"] for job in chain["jobs"]], chain["links"]) == ([run.id], [])
    for path in ("outputs", "chain"):
        assert (await admin.get(f"/v2/jobs/nosuch/{path}")).status_code == 404
    for query in ("limit=0", "limit=1001", "cursor=x", "cursor=-1", "attempt=0"):
        answer = await admin.get(f"/v2/jobs/{run.id}/outputs?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, f"query.{query.split('=')[0]}")


class TestLists:
    async def test_filters(self, admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
        first = await add("in/a.jpg")
        second = invoker.end(invoker.begin(await add("in/b.jpg")), RunState.FAILED)
        third = await add("in/a.jpg", service="other", bucket="b2")

        async def found(**query: str) -> set[str]:
            answer = await admin.get("/v2/jobs", params=query)
            assert answer.status_code == 200
            return {job["id"] for job in answer.json()["jobs"]}

        assert await found() == {first.id, second.id, third.id}
        assert await found(service="grayify") == {first.id, second.id}
        assert await found(state="failed") == {second.id}
        assert await found(state="failed,queued") == {first.id, second.id, third.id}
        assert await found(bucket="pictures", key="in/a.jpg") == {first.id}
        assert await found(key="in/a.jpg") == {first.id, third.id}
        assert await found(since=str(time.time() + 60)) == set()
        assert await found(since="2020-01-01T00:00:00Z") == {first.id, second.id, third.id}
        assert await found(since="2020-01-01T00:00:00+02:00", service="other") == {third.id}

    async def test_pages(self, admin: httpx.AsyncClient, add: Add) -> None:
        ids = [(await add(f"in/{number}.jpg")).id for number in range(7)]
        seen: list[str] = []
        cursor = ""
        while True:
            page = (await admin.get("/v2/jobs", params={"limit": "3", "cursor": cursor})).json()
            assert len(page["jobs"]) <= 3
            seen += [job["id"] for job in page["jobs"]]
            cursor = page["cursor"]
            if not cursor:
                break
        assert seen == list(reversed(ids))

    @pytest.mark.parametrize(
        ("query", "path"),
        [
            ("limit=0", "query.limit"),
            ("limit=1001", "query.limit"),
            ("limit=many", "query.limit"),
            ("limit=-1", "query.limit"),
            ("limit=%D9%A3", "query.limit"),
            (f"limit={'9' * 5000}", "query.limit"),
            ("state=broken", "query.state"),
            ("since=yesterday", "query.since"),
            ("since=nan", "query.since"),
            ("cursor=x", "query.cursor"),
            ("stat=failed", "query.stat"),
        ],
    )
    async def test_bad_queries(self, admin: httpx.AsyncClient, query: str, path: str) -> None:
        answer = await admin.get(f"/v2/jobs?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == path


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_keys_of_any_bytes_come_back_whole(admin: httpx.AsyncClient, add: Add, key: str) -> None:
    run = await add(key)
    escaped = quote(key, errors="surrogateescape", safe="")
    for path in (
        f"/v2/jobs/{run.id}",
        f"/v2/jobs?bucket=pictures&key={escaped}",
        f"/v2/why?bucket=pictures&key={escaped}",
    ):
        answer = await admin.get(path)
        assert answer.status_code == 200
        answer.content.decode("utf-8")
        assert run.id in answer.text
    assert (await admin.get(f"/v2/jobs/{run.id}")).json()["key"] == key


@pytest.mark.parametrize("name", ["%FF", "%00", "a%0Ab", "%F0%9F%98%80"])
async def test_names_of_any_bytes_are_looked_up(admin: httpx.AsyncClient, name: str) -> None:
    for query in ("service", "bucket"):
        assert (await admin.get(f"/v2/jobs?{query}={name}")).json() == {"jobs": [], "cursor": ""}
    for path in (
        "/v2/jobs/{}",
        "/v2/jobs/{}/log",
        "/v2/services/{}",
        "/system/services/{}",
        "/system/logs/{}",
        "/v2/buckets/{}",
    ):
        assert (await admin.get(path.format(name))).status_code == 404


class TestActions:
    async def test_cancelling(self, admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
        run = await add()
        assert (await admin.post(f"/v2/jobs/{run.id}:cancel")).json()["state"] == "cancelled"
        assert (await admin.post(f"/v2/jobs/{run.id}:cancel")).status_code == 200  # it is what was asked for
        done = invoker.end(invoker.begin(await add("in/b.jpg")), RunState.SUCCEEDED)
        refused = await admin.post(f"/v2/jobs/{done.id}:cancel")
        assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")

    async def test_retrying(self, admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
        run = invoker.end(invoker.begin(await add()), RunState.FAILED)
        assert (await admin.post(f"/v2/jobs/{run.id}:retry")).json()["state"] == "queued"
        assert (await admin.post(f"/v2/jobs/{run.id}:retry")).status_code == 409
        done = invoker.end(invoker.begin(await add("in/b.jpg")), RunState.SUCCEEDED)
        assert (await admin.post(f"/v2/jobs/{done.id}:retry")).status_code == 409

    async def test_replaying(self, admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
        run = invoker.end(invoker.begin(await add()), RunState.SUCCEEDED)
        assert (await admin.post(f"/v2/jobs/{run.id}:replay")).json()["state"] == "queued"
        assert (await admin.post(f"/v2/jobs/{run.id}:replay")).status_code == 409

    @pytest.mark.parametrize("action", ["cancel", "retry", "replay"])
    async def test_no_such_job(self, admin: httpx.AsyncClient, action: str) -> None:
        answer = await admin.post(f"/v2/jobs/nosuch:{action}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "job nosuch does not exist")


class TestLog:
    async def test_text_by_attempt_and_tail(self, admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
        run = invoker.end(invoker.begin(await add(), log=b"first\n"), RunState.FAILED)
        invoker.ledger.retry(run.id, 0.0)
        invoker.begin(run, log=b"a\nb\nc\n")
        url = f"/v2/jobs/{run.id}/log"
        latest = await admin.get(url)
        assert (latest.text, latest.headers["content-type"]) == ("a\nb\nc\n", "text/plain; charset=utf-8")
        assert (await admin.get(f"{url}?tail=2")).text == "b\nc\n"
        assert (await admin.get(f"{url}?tail=0")).text == ""
        assert (await admin.get(f"{url}?attempt=1")).text == "first\n"
        assert (await admin.get(f"{url}?attempt=3")).status_code == 404
        assert (await admin.get(f"{url}?attempt=0")).status_code == 422

    async def test_what_is_behind_an_offset(self, admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
        run = invoker.begin(await add(), log=b"one\n")
        url = f"/v2/jobs/{run.id}/log"
        first = await admin.get(f"{url}?offset=0")
        assert (first.text, first.headers["log-offset"]) == ("one\n", "4")
        assert (await admin.get(f"{url}?offset=4")).text == ""
        invoker.jobs.logs[f"grayify-{run.id}-1"] += b"two\n"
        second = await admin.get(url, params={"offset": first.headers["log-offset"]})
        assert (second.text, second.headers["log-offset"]) == ("two\n", "8")
        last = await admin.get(f"{url}?tail=1")
        assert (last.text, last.headers["log-offset"]) == ("two\n", "8")
        for query in ("offset=-1", "offset=x", "offset=1&tail=1"):
            assert (await admin.get(f"{url}?{query}")).status_code == 422

    async def test_a_job_that_has_none(self, admin: httpx.AsyncClient, add: Add) -> None:
        run = await add()
        assert (await admin.get(f"/v2/jobs/{run.id}/log")).status_code == 404
        assert (await admin.get("/v2/jobs/nosuch/log")).status_code == 404


async def test_why_a_file_did_not_run(admin: httpx.AsyncClient, add: Add) -> None:
    run = await add("in/a.jpg")
    detail = "a place is free, it starts in a moment"
    answer = (await admin.get("/v2/why?bucket=pictures&key=in/a.jpg&service=grayify")).json()
    assert answer == {
        "bucket": "pictures",
        "key": "in/a.jpg",
        "answers": [{"service": "grayify", "answer": "waiting", "detail": detail, "job": run.id}],
        "cursor": "",
    }
    for query in ("bucket=pictures", "key=x", "bucket=&key=x", "bucket=b&key=k&cursor=x", "bucket=b&key=k&limit=0"):
        assert (await admin.get(f"/v2/why?{query}")).status_code == 422


async def test_counts_and_backlog(admin: httpx.AsyncClient, invoker: ApiInvoker, add: Add) -> None:
    await add("in/a.jpg")
    invoker.end(invoker.begin(await add("in/b.jpg")), RunState.SUCCEEDED)
    assert (await admin.get("/v2/services/grayify")).json()["counts"] == {"queued": 1, "succeeded": 1}
    assert (await admin.get("/v2/services")).json()["services"][0]["counts"] == {"queued": 1, "succeeded": 1}
    row = {
        "count": 1,
        "services": {"grayify": 1},
        "requests": {"cpu": "0.2", "memory": str(256 * 2**20)},
        "node_selector": {},
        "tolerations": [],
    }
    waits = {"service": "grayify", "code": "starting", "count": 1, "detail": "a place is free, it starts in a moment"}
    assert (await admin.get("/v2/backlog")).json() == {"backlog": [row], "waiting": [waits]}


class TestDeadLetters:
    async def test_list_replay_and_removal(self, admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
        for number in range(3):
            await invoker.ledger.record_dead_letter(
                "minio.default/durable", b"\xff" + b"x" * 5000 * number, f"reason {number}"
            )
        page = (await admin.get("/v2/dead-letters?limit=2")).json()
        assert [letter["reason"] for letter in page["dead_letters"]] == ["reason 2", "reason 1"]
        newest = page["dead_letters"][0]
        assert list(newest) == ["id", "source", "reason", "received", "size", "body"]
        assert (newest["size"], newest["body"][:5], len(newest["body"])) == (10001, "\\xffx", 4099)
        rest = (await admin.get(f"/v2/dead-letters?limit=2&cursor={page['cursor']}")).json()
        assert ([letter["reason"] for letter in rest["dead_letters"]], rest["cursor"]) == (["reason 0"], "")

        assert (await admin.post(f"/v2/dead-letters/{newest['id']}:replay")).json() == {"events": 1}
        oldest = rest["dead_letters"][0]["id"]
        assert (await admin.delete(f"/v2/dead-letters/{oldest}")).status_code == 204
        assert (await admin.delete(f"/v2/dead-letters/{oldest}")).status_code == 404
        assert [letter.reason for letter in invoker.ledger.dead_letters()] == ["reason 1"]

    @pytest.mark.parametrize("name", ["x", "0x1", "-1", "9" * 30, "%D9%A3", "1.5"])
    async def test_no_such_letter(self, admin: httpx.AsyncClient, name: str) -> None:
        assert (await admin.delete(f"/v2/dead-letters/{name}")).status_code == 404
        assert (await admin.post(f"/v2/dead-letters/{name}:replay")).status_code == 404
