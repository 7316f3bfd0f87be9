# SPDX-License-Identifier: Apache-2.0
"""Pages of other origins cannot use the credentials that a browser remembers; clients and dashboards go on working."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from parts.api_invoker import ApiInvoker, Client

SERVICES = "/system/services"
FOREIGN = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}


@pytest.fixture
def body() -> str:
    return '{"name": "planted", "image": "x", "script": "#!/bin/sh\\n", "memory": "256Mi", "cpu": "0.1"}'


@pytest.mark.parametrize(
    "headers",
    [
        {**FOREIGN, "Content-Type": "text/plain"},
        {**FOREIGN, "Content-Type": "text/plain;application/json"},
        {**FOREIGN, "Content-Type": "application/x-www-form-urlencoded"},
        FOREIGN,
        {"Origin": "https://evil.example"},
        {"Origin": "null", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Content-Type": "text/plain"},
    ],
)
@pytest.mark.parametrize("path", [SERVICES, "/v2/services:apply", "/job/grayify", "/v2/jobs/x:cancel"])
async def test_a_page_of_another_origin_changes_nothing(
    admin: httpx.AsyncClient, invoker: ApiInvoker, path: str, headers: dict[str, str], body: str
) -> None:
    answer = await admin.post(path, content=body, headers=headers)
    assert answer.status_code == 403
    assert invoker.catalogue.services == {}
    assert invoker.submitted == []


@pytest.mark.parametrize("media", ["text/plain", "multipart/form-data; boundary=x", "text/xml", "text/csv"])
async def test_a_json_body_is_called_json(admin: httpx.AsyncClient, invoker: ApiInvoker, media: str, body: str) -> None:
    for path in (SERVICES, "/v2/services:apply"):
        answer = await admin.post(path, content=body, headers={"Content-Type": media})
        assert answer.status_code == 415
        assert f"the content type is {media.partition(';')[0]}, it must be application/json" in answer.text
    assert invoker.catalogue.services == {}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/json"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "application/x-www-form-urlencoded"},  # curl -d
        {"Origin": "http://oscar.example", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"},
        {  # a dashboard elsewhere, whose browser has asked first
            "Origin": "https://dashboard.example",
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "cors",
            "Content-Type": "application/json",
        },
    ],
)
async def test_clients_and_dashboards_are_served(admin: httpx.AsyncClient, headers: dict[str, str], body: str) -> None:
    assert (await admin.post(SERVICES, content=body, headers=headers)).status_code == 201


async def test_a_token_is_never_remembered_by_a_browser(
    client: Client, admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    await admin.put("/v2/services/grayify", json=document)
    holder = client(token=invoker.catalogue.services["grayify"].token)
    answer = await holder.post("/job/grayify", content=b"x", headers={**FOREIGN, "Sec-Fetch-Mode": "cors"})
    assert answer.status_code == 201
    assert (await client().get("/health", headers=FOREIGN)).text == "Ok"
