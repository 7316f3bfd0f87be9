# SPDX-License-Identifier: Apache-2.0
"""Many services in one request, as a plan and for real."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from parts.api_invoker import ApiInvoker

URL = "/v2/services:apply"
DRY = f"{URL}?dry_run=true"


def fdl(*documents: dict[str, Any]) -> dict[str, Any]:
    return {"fdl": {"functions": {"oscar": [{"here": one} for one in documents]}}}


async def test_the_plan_says_what_the_real_run_does(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    body = fdl(document)
    plan = await admin.post(DRY, json=body)
    assert plan.status_code == 200
    assert invoker.services() == []
    done = await admin.post(URL, json=body)
    assert done.json() == plan.json()
    (item,) = done.json()["plan"]
    assert list(item) == ["name", "action", "before", "after", "changes", "revision"]
    assert (item["name"], item["action"], item["before"], item["revision"]) == ("grayify", "create", None, "1")
    assert item["after"]["cpu"] == "0.2"  # a default is shown
    assert done.json()["changed"] is True
    assert [one.service.name for one in invoker.services()] == ["grayify"]


async def test_the_second_time_nothing_changes(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    await admin.post(URL, json=fdl(document))
    again = (await admin.post(URL, json=fdl(document))).json()
    assert again["changed"] is False
    (item,) = again["plan"]
    assert (item["action"], item["changes"], item["revision"]) == ("unchanged", [], "1")
    assert item["before"] == item["after"]


async def test_a_change_shows_its_lines_alone(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    await admin.post(URL, json=fdl(document))
    changed = (await admin.post(DRY, json=fdl({**document, "memory": "1Gi"}))).json()
    (item,) = changed["plan"]
    assert item["action"] == "update"
    assert item["changes"] == [{"path": "memory", "before": "256Mi", "after": "1Gi"}]


async def test_secrets_are_in_no_plan(admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]) -> None:
    texts = [(await admin.post(URL, json={"services": [document]})).text]
    document["environment"] = {"secrets": {"API_KEY": "another-value"}}
    texts.append((await admin.post(URL, json={"services": [document]})).text)
    (declared,) = invoker.services()
    assert declared.service.environment.secrets == {"API_KEY": "another-value"}
    for text in texts:
        assert "s3cr3t-value" not in text
        assert "another-value" not in text
        assert declared.service.token not in text
    assert "hidden (changed)" in texts[1]


async def test_services_without_a_file_around_them(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    other = {**document, "name": "other", "input": [], "output": []}
    done = (await admin.post(URL, json={"services": [document, other]})).json()
    assert [(item["name"], item["action"]) for item in done["plan"]] == [("grayify", "create"), ("other", "create")]


async def test_services_are_removed_by_name(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    await admin.post(URL, json=fdl(document))
    body = {"state": "absent", "names": ["grayify", "nosuch"]}
    plan = (await admin.post(DRY, json=body)).json()
    assert [(item["name"], item["action"]) for item in plan["plan"]] == [("grayify", "delete"), ("nosuch", "absent")]
    assert len(invoker.services()) == 1
    assert (await admin.post(URL, json=body)).json() == plan
    assert invoker.services() == []
    assert (await admin.post(URL, json=body)).json()["changed"] is False


@pytest.mark.parametrize(("data", "left"), [("keep", {"pictures"}), ("delete", set())])
async def test_data_goes_only_when_that_is_asked_for(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any], data: str, left: set[str]
) -> None:
    invoker.store.content["pictures"] = {"in/a.jpg": b"picture"}
    await admin.post(URL, json=fdl(document))
    await admin.post(URL, json={"state": "absent", "names": ["grayify"], "data": data})
    assert set(invoker.store.content) == left


async def test_the_services_of_a_file_are_removed(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    await admin.post(URL, json=fdl(document))
    await admin.post(URL, json={**fdl(document), "state": "absent"})
    assert invoker.services() == []


async def test_pruning_removes_what_is_not_named(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    other = {**document, "name": "other", "input": [], "output": []}
    await admin.post(URL, json=fdl(document, other))
    done = (await admin.post(URL, json={**fdl(document), "prune": True})).json()
    assert [(item["name"], item["action"]) for item in done["plan"]] == [("grayify", "unchanged"), ("other", "delete")]
    assert [one.service.name for one in invoker.services()] == ["grayify"]


async def test_all_problems_of_all_services_come_at_once(
    admin: httpx.AsyncClient, invoker: ApiInvoker, document: dict[str, Any]
) -> None:
    broken = {**document, "name": "Bad Name", "cpu": "much"}
    answer = await admin.post(URL, json={"services": [{**document, "memory": 1.5}, broken]})
    assert answer.status_code == 422
    assert {problem["path"] for problem in answer.json()["errors"]} == {
        "services[0].memory",
        "services[1].name",
        "services[1].cpu",
    }
    answer = await admin.post(URL, json=fdl({**document, "memory": 1.5}, {**broken, "filter": "["}))
    assert {problem["path"] for problem in answer.json()["errors"]} == {
        "functions.oscar[0].here.memory",
        "functions.oscar[1].here.name",
        "functions.oscar[1].here.cpu",
        "functions.oscar[1].here.filter",
    }
    assert invoker.services() == []


async def test_a_loop_through_services_declared_apart_is_refused(
    admin: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    del document["input"][0]["suffix"]
    await admin.post(URL, json=fdl(document))
    back = {
        **document,
        "name": "back",
        "input": [{"storage_provider": "minio", "path": "pictures/out"}],
        "output": [{"storage_provider": "minio", "path": "pictures/in"}],
    }
    answer = await admin.post(DRY, json=fdl(back))
    assert answer.status_code == 422
    assert "grayify" in answer.text


async def test_fields_without_effect_are_named(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    for body in (fdl({**document, "enable_sgx": True}), {"services": [{**document, "enable_sgx": True}]}):
        (warning,) = (await admin.post(DRY, json=body)).json()["warnings"]
        assert "enable_sgx" in warning


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "fdl"),
        ({"services": [], "names": []}, "fdl"),
        ({"sevices": []}, "sevices"),
        ({"services": {}}, "services"),
        ({"services": [1]}, "services[0]"),
        ({"services": [], "state": "gone"}, "state"),
        ({"services": [], "data": "delete"}, "data"),
        ({"services": [], "prune": "yes"}, "prune"),
        ({"names": ["a"]}, "names"),
        ({"names": "a", "state": "absent"}, "names"),
        ({"names": ["a"], "state": "absent", "prune": True}, "prune"),
        ({"names": ["a", "a"], "state": "absent"}, "services"),
        ({"fdl": []}, "fdl"),
    ],
)
async def test_contradictory_requests(admin: httpx.AsyncClient, body: dict[str, Any], path: str) -> None:
    answer = await admin.post(URL, json=body)
    assert answer.status_code == 422
    assert path in [problem["path"] for problem in answer.json()["errors"]]


async def test_the_same_service_twice(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    assert (await admin.post(URL, json={"services": [document, document]})).status_code == 422


async def test_dry_run_is_true_or_false(admin: httpx.AsyncClient, document: dict[str, Any]) -> None:
    answer = await admin.post(f"{URL}?dry_run=yes", json=fdl(document))
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "query.dry_run")
    assert (await admin.get("/v2/services")).json() == {"services": [], "cursor": ""}
