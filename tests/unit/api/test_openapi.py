# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document tells what is served, no more and no less, and answers have the shapes that it promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from parts.api_invoker import ApiInvoker, Client, event
from starlette.routing import Route

from oscar_fedcloud import __version__
from oscar_fedcloud.api.app import create_api
from oscar_fedcloud.api.docs_page import with_table
from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.server.limits import Limits

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


@pytest.fixture
async def openapi(client: Client) -> dict[str, Any]:
    return dict((await client().get("/openapi.json")).json())


def operations(openapi: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_served_route_is_in_it_and_the_other_way_round(
    invoker: ApiInvoker, openapi: dict[str, Any]
) -> None:
    served = set()
    for route in create_api(invoker, Limits()).routes:
        assert isinstance(route, Route)
        path = re.sub(r":\w+}", "}", route.path)
        served |= {(method, path.rstrip("/")) for method in route.methods or () if method != "HEAD"}
    assert served == set(operations(openapi))


async def test_it_is_well_formed(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"] == "3.1.0"
    assert openapi["info"]["version"] == __version__
    found = operations(openapi)
    names = [operation["operationId"] for operation in found.values()]
    assert len(set(names)) == len(names)
    for (_, path), operation in found.items():
        parameters = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert parameters == re.findall(r"{(\w+)}", path)
        assert operation["summary"]
        assert operation["description"]
        assert any(status.startswith(("2", "501")) for status in operation["responses"])
    for schema in openapi["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_all_references_lead_somewhere(openapi: dict[str, Any]) -> None:
    references = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(openapi)))
    assert "JobDetail" in references
    assert references <= set(openapi["components"]["schemas"])


async def test_security_says_who_may(openapi: dict[str, Any]) -> None:
    found = operations(openapi)
    assert found["GET", "/health"]["security"] == []
    assert found["GET", "/v2/services"]["security"] == [{"admin": []}]
    assert found["POST", "/job/{name}"]["security"] == [{"admin": []}, {"service": []}]


async def test_answers_have_the_promised_shapes(
    admin: httpx.AsyncClient, invoker: ApiInvoker, openapi: dict[str, Any], document: dict[str, Any]
) -> None:
    found = operations(openapi)

    async def check(method: str, path: str, template: str = "", **options: Any) -> None:
        answer = await admin.request(method, path, **options)
        promised = found[method, template or path.partition("?")[0]]["responses"][str(answer.status_code)]
        media = answer.headers["content-type"].partition(";")[0]
        schema = promised["content"][media]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": openapi["components"]})

    await check("PUT", "/v2/services/broken", "/v2/services/{name}", json={"memory": 1})
    for _ in ("created", "there"):
        await check(
            "PUT", "/v2/services/first", "/v2/services/{name}", json={**document, "name": "first", "output": []}
        )
        await check("PUT", "/v2/buckets/first", "/v2/buckets/{bucket}")
    await check("POST", "/v2/services:apply?dry_run=true", json={"services": [document]})
    await check("POST", "/v2/services:apply", json={"services": [document]})
    await check("POST", "/v2/services:apply", json={"services": [{**document, "memory": "1Gi"}]})
    run = invoker.end(invoker.begin(await invoker.record("grayify", event("pictures", "in/a.jpg"))), RunState.SUCCEEDED)
    await invoker.record("grayify", event("pictures", "in/b.jpg"))
    await invoker.ledger.record_dead_letter("minio.default/fast", b"\xff", "not JSON")
    invoker.store.content["pictures"] = {"in/a.jpg": b"x"}
    await check("GET", "/v2/services")
    await check("GET", "/v2/services/grayify", "/v2/services/{name}")
    await check("GET", "/v2/services/nosuch", "/v2/services/{name}")
    await check("GET", "/v2/services/grayify/revisions", "/v2/services/{name}/revisions")
    await check("POST", "/v2/services/grayify:rollback", "/v2/services/{name}:rollback")
    await check("POST", "/v2/services/grayify/jobs", "/v2/services/{name}/jobs")
    await check("GET", "/v2/jobs")
    await check("GET", f"/v2/jobs/{run.id}", "/v2/jobs/{id}")
    await check("GET", f"/v2/jobs/{run.id}/outputs", "/v2/jobs/{id}/outputs")
    await check("GET", f"/v2/jobs/{run.id}/chain", "/v2/jobs/{id}/chain")
    await check("POST", f"/v2/jobs/{run.id}:cancel", "/v2/jobs/{id}:cancel")
    await check("POST", f"/v2/jobs/{run.id}:replay", "/v2/jobs/{id}:replay")
    await check("GET", "/v2/why?bucket=pictures&key=in/a.jpg")
    await check("GET", "/v2/backlog")
    await check("GET", "/v2/buckets")
    await check("GET", "/v2/buckets/pictures", "/v2/buckets/{bucket}")
    await check("GET", "/v2/buckets/pictures/objects", "/v2/buckets/{bucket}/objects")
    await check("GET", "/v2/dead-letters")
    await check("GET", "/system/services")
    await check("GET", "/system/services/grayify", "/system/services/{name}")
    await check("GET", "/system/logs/grayify", "/system/logs/{name}")
    for path in ("/system/config", "/system/info", "/system/status", "/readyz", "/openapi.json"):
        await check("GET", path)


def test_the_document_shows_the_present_routes() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert text == with_table(text)


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="routes: begin"):
        with_table("# API\n")
