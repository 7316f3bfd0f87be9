# SPDX-License-Identifier: Apache-2.0
"""The application around the routes: webhooks, other origins, paths that are not there, errors."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec import structs
from parts.api_invoker import ApiInvoker, Client
from starlette.types import Receive, Scope, Send

from oscar_fedcloud.api.app import create_app, limits_of
from oscar_fedcloud.api.errors import as_api_error
from oscar_fedcloud.domain.events import BadEvent
from oscar_fedcloud.domain.services import Conflict, NotStarted
from oscar_fedcloud.ledger import StateError
from oscar_fedcloud.server.encoding import encode
from oscar_fedcloud.storage.errors import StoreError

HOOK = "/hooks/minio/minio.default/fast"


async def test_webhooks_are_served_before_every_middleware(invoker: ApiInvoker) -> None:
    seen: list[Any] = []

    async def hook(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((receive, send))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    given: list[Any] = []
    app = create_app(invoker, {HOOK: hook})

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        given.append((receive, send))
        await app(scope, receive, send)

    transport = httpx.ASGITransport(server)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        many = [("X-Filler", "x")] * 200  # more than any middleware lets through
        answer = await client.post(HOOK, headers=[*many, ("Origin", "https://elsewhere")])
        assert answer.status_code == 204
        assert "access-control-allow-origin" not in answer.headers
        assert seen == given
        assert (await client.post(f"{HOOK}/")).status_code == 404
        assert (await client.get("/health")).text == "Ok"


async def test_dashboards_of_other_origins_may_call(client: Client) -> None:
    headers = {
        "Origin": "https://dashboard.example",
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization,if-match",
    }
    asked = await client().options("/v2/services/x", headers=headers)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "DELETE" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers
    refused = await client().get("/v2/services", headers={"Origin": "https://dashboard.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert "X-Oscar-Job-Id" in refused.headers["access-control-expose-headers"]


async def test_origins_can_be_limited(invoker: ApiInvoker) -> None:
    invoker.config = structs.replace(invoker.config, cors_origins=("https://ours.example",))
    transport = httpx.ASGITransport(create_app(invoker))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        ours = await client.get("/health", headers={"Origin": "https://ours.example"})
        other = await client.get("/health", headers={"Origin": "https://other.example"})
    assert ours.headers["access-control-allow-origin"] == "https://ours.example"
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("path", ["/", "/nosuch", "/v2", "/v2/", "/v2/nosuch", "/system", "/v2/services/", "/job/"])
async def test_paths_that_are_not_there(admin: httpx.AsyncClient, path: str) -> None:
    answer = await admin.get(path)
    assert answer.status_code == 404
    kind = "application/problem+json" if path.startswith("/v2/") else "text/plain; charset=utf-8"
    assert answer.headers["content-type"] == kind


@pytest.mark.parametrize(
    ("method", "path", "status", "hint"),
    [
        ("POST", "/v2/jobs/abc:retyr", 404, "/v2/jobs/abc has no action :retyr; did you mean :retry?"),
        ("POST", "/v2/jobs/abc:x", 404, "known are: :cancel, :replay, :retry"),
        ("POST", "/v2/services/a:rolback", 404, "did you mean :rollback?"),
        ("POST", "/v2/services:aply", 404, "did you mean :apply?"),
        ("GET", "/v2/service", 404, "did you mean /v2/services?"),
        ("GET", "/nothing/like/it", 404, "GET /openapi.json lists all paths"),
        ("PUT", "/v2/jobs/abc", 405, "possible are: GET"),
    ],
)
async def test_a_wrong_path_is_told_the_right_one(
    admin: httpx.AsyncClient, method: str, path: str, status: int, hint: str
) -> None:
    answer = await admin.request(method, path)
    assert answer.status_code == status
    assert hint in answer.text


async def test_methods_that_are_not_there(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v2/jobs")
    assert (answer.status_code, answer.json()["status"]) == (405, 405)
    assert "GET" in answer.headers["allow"]
    assert (await admin.put("/system/config")).status_code == 405
    assert (await admin.head("/health")).status_code == 200


async def test_the_unexpected_tells_nothing_of_the_inside(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    def broken() -> list[Any]:
        raise RuntimeError("secret inside")

    invoker.catalogue.all_declared = broken  # type: ignore[method-assign]
    answer = await admin.get("/v2/services", headers={"Origin": "https://x"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "inside" not in answer.json()["detail"].replace("of the inside", "")
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StateError("run 'x' is queued: no retry is possible"), 409),
        (Conflict("x"), 412),
        (NotStarted("x"), 422),
        (BadEvent("x"), 422),
        (StoreError("x"), 503),
        (ValueError("x"), 500),
    ],
)
def test_what_exceptions_stand_for(error: Exception, status: int) -> None:
    assert as_api_error(error).status == status


def test_limits_come_from_the_configuration(invoker: ApiInvoker) -> None:
    limits = limits_of(structs.replace(invoker.config, max_body=7, max_connections=3))
    assert (limits.max_body, limits.max_connections) == (7, 3)


def test_json_is_compact_and_takes_any_key() -> None:
    key = b"\xff".decode("utf-8", "surrogateescape")
    assert encode({"a": [1, None], "b": "é"}) == '{"a":[1,null],"b":"é"}'.encode()
    assert encode({"key": key, "b": "é"}) == b'{"key":"\\udcff","b":"\\u00e9"}'
