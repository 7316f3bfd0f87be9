# SPDX-License-Identifier: Apache-2.0
"""The same request sent twice is carried out once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from parts.api_invoker import ApiInvoker, Client
from starlette.responses import Response

from oscar_fedcloud.api.app import create_app
from oscar_fedcloud.api.idempotency import Replies
from oscar_fedcloud.ledger import Claim
from oscar_fedcloud.server.problems import ApiError

KEY = {"Idempotency-Key": "k-1"}


@pytest.fixture(autouse=True)
async def service(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    await admin.put("/v2/services/grayify", json=document)


async def test_a_job_is_started_once(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    first = await admin.post("/v2/services/grayify/jobs", content=b"body", headers=KEY)
    again = await admin.post("/v2/services/grayify/jobs", content=b"body", headers=KEY)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert invoker.submitted == [("grayify", b"body", "k-1", "")]


async def test_the_compatible_route_knows_it_too(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    answers = [await admin.post("/job/grayify", content=b"body", headers=KEY) for _ in range(3)]
    assert {answer.headers["x-oscar-job-id"] for answer in answers} == {answers[0].headers["x-oscar-job-id"]}
    assert len(invoker.submitted) == 1


async def test_a_job_is_the_same_after_a_restart(admin: httpx.AsyncClient, invoker: ApiInvoker, client: Client) -> None:
    first = await admin.post("/job/grayify", content=b"body", headers=KEY)
    transport = httpx.ASGITransport(create_app(invoker))
    async with httpx.AsyncClient(transport=transport, base_url="http://x", auth=admin.auth) as after:
        again = await after.post("/job/grayify", content=b"body", headers=KEY)
    assert again.headers["x-oscar-job-id"] == first.headers["x-oscar-job-id"]


async def test_another_body_with_the_same_key_is_refused(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    await admin.post("/v2/services/grayify/jobs", content=b"body", headers=KEY)
    refused = await admin.post("/v2/services/grayify/jobs", content=b"other", headers=KEY)
    assert (refused.status_code, refused.json()["status"]) == (422, 422)
    assert len(invoker.submitted) == 1


async def test_a_key_stands_for_one_request_whoever_sends_it(
    admin: httpx.AsyncClient, client: Client, invoker: ApiInvoker
) -> None:
    """The same after a restart, of which the ledger alone is left."""
    token = invoker.services()[0].service.token
    first = await admin.post("/v2/services/grayify/jobs", content=b"body", headers=KEY)
    after = httpx.AsyncClient(transport=httpx.ASGITransport(create_app(invoker)), base_url="http://x", auth=admin.auth)
    for caller in (admin, after):
        answers = [
            await caller.post("/v2/services/grayify/jobs", content=b"other", headers=KEY),
            await caller.post("/job/grayify", content=b"body", headers=KEY),
            await caller.post(f"/v2/jobs/{first.json()['id']}:cancel", headers=KEY),
        ]
        assert [answer.status_code for answer in answers] == [422, 400, 422]  # OSCAR's routes know no 422
        assert "this Idempotency-Key was used for another request" in answers[0].json()["detail"]
    by_token = await client(token=token).post("/v2/services/grayify/jobs", content=b"body", headers=KEY)
    assert by_token.status_code == 422
    again = await after.post("/v2/services/grayify/jobs", content=b"body", headers=KEY)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    await after.aclose()


async def test_delegated_jobs_are_told_apart_as_well(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    """A cluster that delegates a job names it by a header of its own."""
    delegated = {"X-Delegated-Job-Id": "d-1"}
    first = await admin.post("/job/grayify", content=b"body", headers=delegated)
    assert (await admin.post("/job/grayify", content=b"other", headers=delegated)).status_code == 400
    again = await admin.post("/job/grayify", content=b"body", headers=delegated)
    assert again.headers["x-oscar-job-id"] == first.headers["x-oscar-job-id"]
    assert len(invoker.submitted) == 1


async def test_requests_that_differ_come_at_once(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    """Two processes on one ledger, as replicas are: one request wins, and the others are told."""
    apps = [create_app(invoker) for _ in range(4)]
    callers = [
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", auth=admin.auth) for app in apps
    ]
    sent = [
        caller.post("/v2/services/grayify/jobs", content=f"body {number}".encode(), headers=KEY)
        for number, caller in enumerate(callers)
    ]
    codes = [answer.status_code for answer in await asyncio.gather(*sent)]
    assert sorted(codes) == [202, 422, 422, 422]
    assert len(invoker.submitted) == 1
    for caller in callers:
        await caller.aclose()


async def test_keys_are_forgotten_with_history(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    """But not while a job is there that came before or with them."""
    first = await admin.post("/v2/services/grayify/jobs", content=b"body", headers=KEY)
    invoker.ledger.prune(time.time() + 10)
    assert invoker.ledger.claim("k-1", "another") is Claim.OTHER
    invoker.ledger.cancel_queued(first.json()["id"])
    invoker.ledger.prune(time.time() + 10)
    assert invoker.ledger.claim("k-1", "another") is Claim.NEW
    assert invoker.ledger.release("k-1", "another")


async def test_a_plan_and_the_real_run_are_apart(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    body = {"services": [{**document, "memory": "1Gi"}]}
    plan = await admin.post("/v2/services:apply?dry_run=true", json=body, headers=KEY)
    done = await admin.post("/v2/services:apply", json=body, headers=KEY)
    assert plan.json() == done.json()
    assert invoker.services()[0].revision == 2
    again = await admin.post("/v2/services:apply", json=body, headers=KEY)
    assert again.json()["changed"] is True  # the first answer, not that of a second run


async def test_failures_are_not_kept(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    body = {"services": [{**document, "name": "later", "input": [], "output": []}]}
    assert (await admin.post("/v2/services/later:rollback", headers=KEY)).status_code == 404
    await admin.post("/v2/services:apply", json=body)
    body["services"][0]["cpu"] = "1"
    await admin.post("/v2/services:apply", json=body)
    assert (await admin.post("/v2/services/later:rollback", headers=KEY)).status_code == 200


async def test_long_keys_are_refused(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/job/grayify", headers={"Idempotency-Key": "k" * 256})
    assert answer.status_code == 400


async def test_a_second_request_beside_the_first_is_told_to_wait() -> None:
    replies, go = Replies(), asyncio.Event()

    async def slow() -> Response:
        await go.wait()
        return Response(b"done")

    first = asyncio.create_task(replies.once(("k",), "d", slow))
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as error:
        await replies.once(("k",), "d", slow)
    assert error.value.status == 409
    with pytest.raises(ApiError) as error:
        await replies.once(("k",), "other", slow)
    assert error.value.status == 422
    go.set()
    assert (await first).body == b"done"
    assert (await replies.once(("k",), "d", slow)).body == b"done"


async def test_memory_is_bounded_by_count_and_by_bytes() -> None:
    calls: list[str] = []

    async def ask(replies: Replies, key: str, size: int) -> None:
        async def make() -> Response:
            calls.append(key)
            return Response(b"x" * size)

        await replies.once((key,), "d", make)

    few = Replies(max_entries=2)
    for key in ("a", "b", "c", "c", "b", "a"):
        await ask(few, key, 1)
    assert calls == ["a", "b", "c", "a"]

    calls.clear()
    small = Replies(max_bytes=100)
    for key in ("a", "b", "b", "a"):
        await ask(small, key, 60)
    assert calls == ["a", "b", "a"]
