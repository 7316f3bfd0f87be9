# SPDX-License-Identifier: Apache-2.0
"""Health, readiness and figures."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from parts.api_invoker import PASSWORD, ApiInvoker, Client, event

from oscar_fedcloud.api.app import create_app
from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.ledger import LedgerUnavailable


async def test_the_process_is_alive_whatever_its_parts_do(client: Client, invoker: ApiInvoker) -> None:
    invoker.parts = {"ledger": {"ok": False, "detail": "disk full"}}
    for path, text in (("/livez", "ok"), ("/health", "Ok")):
        answer = await client().get(path)
        assert (answer.status_code, answer.text) == (200, text)


async def test_all_parts_fit(client: Client, invoker: ApiInvoker) -> None:
    invoker.parts = {"ledger": {"ok": True, "detail": ""}, "store": {"ok": True, "detail": "fine"}}
    answer = await client().get("/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {"ready": True, "parts": {"ledger": {"ok": True}, "store": {"ok": True}}},
    )


async def test_a_part_that_fails(client: Client, admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    invoker.parts = {
        "ledger": {"ok": True, "detail": ""},
        "store": {"ok": False, "detail": "http://10.0.0.1:9000 refused"},
    }
    open_answer = await client().get("/readyz")
    assert open_answer.status_code == 503
    assert open_answer.json() == {"ready": False, "parts": {"ledger": {"ok": True}, "store": {"ok": False}}}
    told = await admin.get("/readyz")
    assert told.json()["parts"]["store"] == {"ok": False, "detail": "http://10.0.0.1:9000 refused"}


async def test_many_who_ask_cost_one_look(client: Client, invoker: ApiInvoker) -> None:
    nobody = client()
    answers = await asyncio.gather(*(nobody.get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert invoker.looks == 1


async def test_figures(admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]) -> None:
    await admin.put("/v2/services/grayify", json=document)
    invoker.end(invoker.begin(await invoker.record("grayify", event("pictures", "in/a.jpg"))), RunState.FAILED)
    await invoker.record("grayify", event("pictures", "in/b.jpg"))
    await admin.get("/v2/services/nosuch")
    answer = await admin.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'oscar_jobs{service="grayify",state="failed"} 1.0' in lines
    assert 'oscar_jobs{service="grayify",state="queued"} 1.0' in lines
    assert 'oscar_services{state="ready"} 1.0' in lines
    assert 'oscar_services{state="error"} 0.0' in lines
    assert 'oscar_ready{part="ledger"} 1.0' in lines
    assert any(line.startswith("oscar_ledger_committed_total 2") for line in lines)
    labels = 'method="GET",route="/v2/services/{name}",status="404"'
    assert f"oscar_http_request_seconds_count{{{labels}}} 1.0" in lines


async def test_applications_have_figures_of_their_own(invoker: ApiInvoker) -> None:
    applications = [create_app(invoker), create_app(invoker)]
    counted = []
    for application in applications:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", auth=("oscar", PASSWORD)) as admin:
            await admin.get("/v2/services/nobody")
            lines = (await admin.get("/metrics")).text.splitlines()
        counted += [line for line in lines if "request_seconds_count" in line and 'status="404"' in line]
    assert [line.split()[-1] for line in counted] == ["1.0", "1.0"]


async def test_a_ledger_that_is_away(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    def away(*_: Any, **__: Any) -> dict[str, Any]:
        raise LedgerUnavailable("the ledger cannot be read: disk I/O error")

    invoker.ledger.counts = away  # type: ignore[method-assign]
    answer = await admin.get("/v2/services")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["title"] == "Service Unavailable"
