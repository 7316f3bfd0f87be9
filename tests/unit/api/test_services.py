# SPDX-License-Identifier: Apache-2.0
"""Declared services under /v2, one at a time."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httpx
import pytest
from parts.api_invoker import ApiInvoker

URL = "/v2/services/grayify"


async def test_a_service_is_created_read_changed_and_removed(
    admin: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    created = await admin.put(URL, json=document)
    assert (created.status_code, created.headers["etag"]) == (201, '"1"')

    read = await admin.get(URL)
    assert read.status_code == 200
    view = read.json()
    assert view == created.json()
    assert list(view) == ["name", "revision", "status", "document", "counts"]
    assert (view["revision"], view["status"]["state"], view["counts"]) == ("1", "ready", {})
    assert view["document"]["input"][0]["storage_provider"] == "minio.default"

    changed = await admin.put(URL, json={**document, "memory": "512Mi"})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json()["document"]["memory"] == "512Mi"

    listed = (await admin.get("/v2/services")).json()
    assert [one["name"] for one in listed["services"]] == ["grayify"]

    assert (await admin.delete(URL)).status_code == 204
    gone = await admin.get(URL)
    assert (gone.status_code, gone.json()["detail"]) == (404, "service grayify does not exist")
    assert (await admin.delete(URL)).status_code == 404


async def test_services_and_revisions_by_page(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    names = [f"service-{number}" for number in range(5)]
    for name in names:
        await admin.put(f"/v2/services/{name}", json={**document, "name": name})
    whole = (await admin.get("/v2/services")).json()
    assert ([one["name"] for one in whole["services"]], whole["cursor"]) == (names, "")
    first = (await admin.get("/v2/services?limit=3")).json()
    await admin.delete(f"/v2/services/{names[2]}")  # the last of the first page
    second = (await admin.get("/v2/services", params={"limit": 3, "cursor": first["cursor"]})).json()
    assert first["services"] + second["services"] == whole["services"]
    assert second["cursor"] == ""
    assert (await admin.get("/v2/services?cursor=%25")).status_code == 422

    url = f"/v2/services/{names[0]}"
    for size in (300, 400, 500):
        await admin.put(url, json={**document, "name": names[0], "memory": f"{size}Mi"})
    shown = (await admin.get(f"{url}/revisions")).json()
    assert ([one["revision"] for one in shown["revisions"]], shown["cursor"]) == (["4", "3", "2", "1"], "")
    newer = (await admin.get(f"{url}/revisions?limit=2")).json()
    older = (await admin.get(f"{url}/revisions", params={"limit": 2, "cursor": newer["cursor"]})).json()
    assert (newer["revisions"] + older["revisions"], older["cursor"]) == (shown["revisions"], "")
    for query in ("cursor=x", "cursor=-1", "limit=0"):
        assert (await admin.get(f"{url}/revisions?{query}")).status_code == 422


async def test_the_same_document_again_is_no_new_revision(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    await admin.put(URL, json=document)
    again = await admin.put(URL, json=document)
    assert (again.status_code, again.headers["etag"]) == (200, '"1"')


async def test_the_name_may_stand_in_the_address_alone(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    del document["name"]
    assert (await admin.put(URL, json=document)).json()["document"]["name"] == "grayify"


async def test_another_name_in_the_document_is_refused(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    answer = await admin.put("/v2/services/other", json=document)
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert (problem["path"], problem["value"]) == ("service.name", "grayify")


async def test_problems_of_a_document_come_all_at_once(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    answer = await admin.put(URL, json={**document, "memory": "2 GB", "memroy": "1Gi", "filter": "a ==="})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", HTTPStatus(422).phrase, 422)
    assert {one["path"] for one in problem["errors"]} == {"service.memory", "service.memroy", "service.filter"}
    assert "memory" in next(one["hint"] for one in problem["errors"] if one["path"] == "service.memroy")
    assert (await admin.get(URL)).status_code == 404


@pytest.mark.parametrize(("query", "left"), [("", {"pictures"}), ("?data=keep", {"pictures"}), ("?data=delete", set())])
async def test_data_goes_only_when_that_is_asked_for(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any], query: str, left: set[str]
) -> None:
    invoker.store.content["pictures"] = {"in/a.jpg": b"picture"}
    await admin.put(URL, json=document)
    assert (await admin.delete(f"{URL}{query}")).status_code == 204
    assert set(invoker.store.content) == left


class TestPreconditions:
    async def test_a_known_revision_is_not_sent_again(self, admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
        await admin.put(URL, json=document)
        for header in ('"1"', 'W/"1"', '"7", "1"', "*"):
            answer = await admin.get(URL, headers={"If-None-Match": header})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
        assert (await admin.get(URL, headers={"If-None-Match": '"2"'})).status_code == 200

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_a_change_of_another_revision_is_refused(
        self, admin: httpx.AsyncClient, document: dict[str, Any], method: str
    ) -> None:
        await admin.put(URL, json=document)
        refused = await admin.request(method, URL, json={**document, "cpu": "1"}, headers={"If-Match": '"2"'})
        assert refused.status_code == 412
        assert "revision 1" in refused.json()["detail"]
        assert (await admin.get(URL)).headers["etag"] == '"1"'
        done = await admin.request(method, URL, json={**document, "cpu": "1"}, headers={"If-Match": '"1"'})
        assert done.status_code in (200, 204)

    async def test_if_match_needs_an_existing_service(self, admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
        assert (await admin.put(URL, json=document, headers={"If-Match": "*"})).status_code == 412

    async def test_only_if_new(self, admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
        header = {"If-None-Match": "*"}
        assert (await admin.put(URL, json=document, headers=header)).status_code == 201
        assert (await admin.put(URL, json={**document, "cpu": "1"}, headers=header)).status_code == 412
        assert (await admin.put(URL, json=document, headers={"If-None-Match": '"1"'})).status_code == 400


class TestRevisions:
    async def test_rolling_back_declares_the_old_document_anew(
        self, admin: httpx.AsyncClient, document: dict[str, Any]
    ) -> None:
        for memory in ("128Mi", "256Mi", "512Mi"):
            await admin.put(URL, json={**document, "memory": memory})
        listed = (await admin.get(f"{URL}/revisions")).json()["revisions"]
        assert [one["revision"] for one in listed] == ["3", "2", "1"]
        assert all(one["changed"].endswith("Z") for one in listed)

        before = await admin.post(f"{URL}:rollback")
        assert (before.json()["document"]["memory"], before.headers["etag"]) == ("256Mi", '"4"')
        for number, again in enumerate((1, "1", listed[-1]["revision"]), start=5):
            first = await admin.post(f"{URL}:rollback", json={"revision": again})
            assert (first.json()["document"]["memory"], first.json()["revision"]) == ("128Mi", str(min(number, 5)))

    async def test_what_cannot_be_rolled_back(self, admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
        assert (await admin.post(f"{URL}:rollback")).status_code == 404
        await admin.put(URL, json=document)
        assert (await admin.post(f"{URL}:rollback")).status_code == 404
        assert (await admin.post(f"{URL}:rollback", json={"revision": 9})).status_code == 404
        for wrong in ("", "one", "-1", "1.0", "²", "9" * 5000, True, 1.5, [], {}):
            refused = await admin.post(f"{URL}:rollback", json={"revision": wrong})
            assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "revision")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "script is required"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"[" * 100_000, ""),
    ],
)
async def test_bodies_that_are_no_document(admin: httpx.AsyncClient, body: bytes, detail: str) -> None:
    answer = await admin.put(URL, content=body)
    assert answer.status_code in (400, 422)
    assert detail in answer.text


async def test_unknown_parameters_are_named(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    await admin.put(URL, json=document)
    answer = await admin.delete(f"{URL}?dta=delete")
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert (problem["path"], problem["hint"]) == ("query.dta", "did you mean data?")
    assert (await admin.delete(f"{URL}?data=all")).status_code == 422
    assert (await admin.get(URL)).status_code == 200
