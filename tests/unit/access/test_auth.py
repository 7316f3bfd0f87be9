# SPDX-License-Identifier: Apache-2.0
"""Who may do what: every identity against every route of the table."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from parts.api_invoker import PASSWORD, ApiInvoker, Client

from oscar_fedcloud.access.auth import Identity, Resource, may
from oscar_fedcloud.api.routes import ROUTES
from oscar_fedcloud.api.routing import Route
from oscar_fedcloud.fdl import parse_service

OPEN = {"/health", "/livez", "/readyz", "/openapi.json"}
STARTS = {("POST", "/job/{name}"), ("POST", "/run/{name}"), ("POST", "/v2/services/{name}/jobs")}


def request(route: Route) -> tuple[str, str]:
    """Method and address of a request for the route, about service ``grayify``."""
    values = {"name": "grayify", "id": "1", "job": "grayify-x-1", "bucket": "pictures", "key": "a.jpg"}
    return route.method, route.template.format(**values)


@pytest.fixture
async def tokens(admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]) -> dict[str, str]:
    """Service name -> its token."""
    keys = ("in/a.jpg", "in/a.txt", "in/../a.jpg")
    invoker.store.content = {"pictures": dict.fromkeys(keys, b"x"), "others": {"x": b"x"}}
    other = {**document, "name": "other", "input": [], "output": []}
    for one in (document, other):
        assert (await admin.put(f"/v2/services/{one['name']}", json=one)).status_code == 201
    return {name: token for token, name in invoker.catalogue.tokens.items()}


async def statuses(client: httpx.AsyncClient) -> dict[Route, int]:
    """What each route answers this client."""
    return {route: (await client.request(*request(route))).status_code for route in ROUTES}


def is_open(route: Route) -> bool:
    return route.template in OPEN


def starts(route: Route) -> bool:
    return (route.method, route.template) in STARTS


async def test_without_credentials_only_open_routes_answer(client: Client, tokens: dict[str, str]) -> None:
    found = await statuses(client())
    assert found == {route: 200 if is_open(route) else 401 for route in ROUTES}


async def test_wrong_credentials_are_none(client: Client, tokens: dict[str, str]) -> None:
    expected = {route: 200 if is_open(route) else 401 for route in ROUTES}
    assert await statuses(client(auth=("oscar", "wrong"))) == expected
    assert await statuses(client(token="0" * 64)) == expected


async def test_a_refusal_says_what_is_needed(client: Client) -> None:
    assert (await client().get("/v2/services")).headers["www-authenticate"].startswith("Basic ")
    assert (await client(token="0" * 64).get("/v2/services")).headers["www-authenticate"].startswith("Bearer ")


async def test_a_token_starts_its_service_and_no_more(client: Client, tokens: dict[str, str]) -> None:
    found = await statuses(client(token=tokens["grayify"]))
    assert {found[route] for route in ROUTES if starts(route)} == {201, 202, 501}
    rest = {route: status for route, status in found.items() if not starts(route)}
    assert rest == {route: 200 if is_open(route) else 403 for route in rest}


async def test_the_token_of_another_service_starts_nothing(
    client: Client, tokens: dict[str, str], invoker: ApiInvoker
) -> None:
    found = await statuses(client(token=tokens["other"]))
    assert found == {route: 200 if is_open(route) else 403 for route in ROUTES}
    assert invoker.submitted == []


async def test_the_administrator_may_do_everything(admin: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    found = await statuses(admin)
    assert {route: status for route, status in found.items() if status in (401, 403, 405, 500)} == {}


async def test_a_token_learns_nothing_of_services_that_are_not_its_own(client: Client, tokens: dict[str, str]) -> None:
    mine = client(token=tokens["grayify"])
    there, absent = await mine.post("/job/other"), await mine.post("/job/nosuch")
    assert (there.status_code, absent.status_code) == (403, 403)


async def test_a_token_ends_with_its_service(admin: httpx.AsyncClient, client: Client, tokens: dict[str, str]) -> None:
    mine = client(token=tokens["grayify"])
    assert (await mine.post("/job/grayify")).status_code == 201
    await admin.delete("/v2/services/grayify")
    assert (await mine.post("/job/grayify")).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"oscar").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(b"oscar:").decode(),
        "Basic " + base64.b64encode(f"Oscar:{PASSWORD}".encode()).decode(),
        "Bearer",
        "Bearer ",
        f"Bearer oscar:{PASSWORD}",
        "Digest x",
        PASSWORD,
    ],
)
async def test_malformed_credentials(client: Client, header: str) -> None:
    answer = await client().get("/v2/services", headers={"Authorization": header})
    assert answer.status_code == 401


async def test_the_scheme_may_be_written_in_any_case(client: Client) -> None:
    header = "bAsIc " + base64.b64encode(f"oscar:{PASSWORD}".encode()).decode()
    assert (await client().get("/v2/services", headers={"Authorization": header})).status_code == 200


def storage_event(bucket: str, key: str) -> dict[str, Any]:
    record = {
        "eventSource": "minio:s3",
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": "17ABCDEF"}},
    }
    return {"Key": f"{bucket}/{key}", "Records": [record]}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (storage_event("pictures", "in/a.jpg"), 201),
        (
            storage_event("pictures", "in/a.txt"),
            201,
        ),  # inside its folder: that its suffix leaves it out is no matter here
        (storage_event("pictures", "private/a.jpg"), 403),
        (storage_event("pictures", "in%2F..%2Fa.jpg"), 201),
        (storage_event("pictures", "inner/a.jpg"), 403),
        (storage_event("others", "in/a.jpg"), 403),
        ({"storage_provider": "default", "event": json.dumps(storage_event("others", "in/a.jpg"))}, 403),
        ({"storage_provider": "elsewhere", "event": storage_event("pictures", "in/a.jpg")}, 403),
        ({"httpMethod": "POST", "body": json.dumps(storage_event("others", "in/a.jpg"))}, 403),
        ({"Records": [*storage_event("pictures", "in/a.jpg")["Records"], *storage_event("x", "y")["Records"]]}, 403),
        ({"bucket": "others", "key": "in/a.jpg"}, 201),  # no storage event: data for the script
    ],
)
async def test_a_token_starts_its_service_for_its_inputs_only(
    client: Client, invoker: ApiInvoker, tokens: dict[str, str], body: dict[str, Any], status: int
) -> None:
    mine = client(token=tokens["grayify"])
    for path, success in (("/job/grayify", 201), ("/v2/services/grayify/jobs", 202)):
        answer = await mine.post(path, json=body)
        assert answer.status_code == (success if status == 201 else 403), answer.text
    assert len(invoker.submitted) == (2 if status == 201 else 0)


async def test_the_administrator_starts_a_service_for_any_object(
    admin: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    assert (await admin.post("/job/grayify", json=storage_event("others", "x"))).status_code == 201


def test_may_decides_by_identity_verb_and_resource(document: dict[str, Any]) -> None:
    service = parse_service(document)
    admin, own, other, nobody = (
        Identity("admin", "oscar"),
        Identity("service", "grayify"),
        Identity("service", "other"),
        Identity("nobody"),
    )
    start = Resource("service", "grayify")
    assert [may(one, "start", start) for one in (admin, own, other, nobody)] == [True, True, False, False]
    for verb in ("read", "write"):
        assert [may(one, verb, start) for one in (admin, own, other, nobody)] == [True, False, False, False]
    public = Resource("public")
    assert all(may(one, "read", public) for one in (admin, own, other, nobody))
    assert not any(may(one, verb, public) for one in (own, nobody) for verb in ("write", "start"))
    inside = Resource("service", "grayify", service, ("minio.default", "pictures", "in/x.jpg"))
    outside = Resource("service", "grayify", service, ("minio.default", "pictures", "x.jpg"))
    undeclared = Resource("service", "grayify", None, ("minio.default", "pictures", "in/x.jpg"))
    assert [may(own, "start", one) for one in (inside, outside, undeclared)] == [True, False, False]


async def test_credentials_reach_no_log(
    client: Client, tokens: dict[str, str], capsys: pytest.CaptureFixture[str], invoker: ApiInvoker
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("the inside is broken")

    invoker.changes.revisions = broken  # type: ignore[method-assign, assignment]
    answer = await client(auth=("oscar", PASSWORD)).get("/v2/services/grayify/revisions")
    await client(token=tokens["grayify"]).get("/v2/services")
    await client(auth=("oscar", "wrong-password")).get("/v2/services")
    shown = "".join(capsys.readouterr())
    assert answer.status_code == 500
    assert "inside is broken" not in answer.text
    assert "inside is broken" in shown
    for secret in (PASSWORD, tokens["grayify"], "wrong-password", "s3cr3t-value", "site-secret"):
        assert secret not in shown
