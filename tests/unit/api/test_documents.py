# SPDX-License-Identifier: Apache-2.0
"""Requests that declare services: scalars as written, JSON and YAML, the position of every problem."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from parts.api_invoker import ApiInvoker
from parts.fdl_texts import BAD, GOOD, Bad, Good, text_of

APPLY = "/v2/services:apply"
DRY = f"{APPLY}?dry_run=true"
YAML = {"Content-Type": "application/yaml"}
PROBLEM = {"Accept": "application/problem+json"}
SERVICE = '{"name": "copy", "image": "busybox", "script": "true", '


def wrapped(text: str) -> str:
    """The text of an FDL file as a member of a request."""
    return "prune: false\nfdl:\n" + "".join(f"  {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("wrap", [str, wrapped], ids=["bare", "wrapped"])
@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
async def test_scalars_are_what_is_written(admin: httpx.AsyncClient, case: Good, wrap: Any) -> None:
    answer = await admin.post(DRY, content=wrap(text_of(case.lines)), headers=YAML)
    assert answer.status_code == 200, answer.text
    shown = {
        name: dict.fromkeys(value, "hidden") if name.endswith("secrets") else value
        for name, value in case.document.items()
    }
    assert case.found(answer.json()["plan"][0]["after"]) == shown


SMALL = [case for case in BAD if len(case.text) < 90_000]  # others are refused for their size in these tests


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
async def test_each_problem_has_its_position(admin: httpx.AsyncClient, case: Bad) -> None:
    answer = await admin.post(APPLY, content=case.text, headers=YAML)
    if case.path == "document" or case.text in ("", "- a"):
        assert answer.status_code in (400, 422)
        assert f"(line {case.line}, column {case.column})" in answer.text or case.text in ("", "- a", "a: b\n")
        return
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["path"], error["line"], error["column"]) == (case.path, case.line, case.column)
    assert case.words in f"{error['message']}; {error['hint']}"
    if "\t" not in case.lines:
        answer = await admin.post(APPLY, content=wrapped(case.text), headers=YAML)
        (error,) = answer.json()["errors"]
        assert (error["line"], error["column"]) == (case.line + 2, case.column + 2)


async def test_numbers_in_json_are_text_as_written(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    values = '{"A": 1.10, "B": 1e3, "C": -0.0, "D": 99999999999999999999999, "E": true, "F": "0755", "G": null}'
    body = f'{SERVICE}"labels": {{"x": 1.10}}, "environment": {{"variables": {values}}}}}'
    expected = {"A": "1.10", "B": "1e3", "C": "-0.0", "D": "9" * 23, "E": "true", "F": "0755", "G": "null"}
    for send in (
        admin.post(APPLY, content=f'{{"services": [{body}]}}'),
        admin.put("/v2/services/copy", content=body),
        admin.put("/system/services", content=body),
    ):
        answer = await send
        assert answer.is_success, answer.text
        service = invoker.services()[0].service
        given = {name: value for name, value in expected.items() if name in service.environment.variables}
        assert service.environment.variables == given
        assert given.keys() >= expected.keys() - {"G"}  # null means "not given" to clients of OSCAR
        assert service.labels == {"x": "1.10"}


@pytest.mark.parametrize(
    ("body", "path", "line", "column"),
    [
        (f'{SERVICE}\n "memory": "2 GB"}}', "service.memory", 2, 2),
        (f'{SERVICE}\n "name": "copy"}}', "name", 2, 2),
        (f'{SERVICE}"environment": {{"variables": {{"A": "1",\n"A": "2"}}}}}}', "environment.variables.A", 2, 1),
        (
            f'{SERVICE}\n"output": [{{"storage_provider": "minio", "path": "b-b/a*"}}]}}',
            "service.output[0].path",
            2,
            42,
        ),
        (f'{SERVICE}\n"memry": 1}}', "service.memry", 2, 1),
    ],
)
async def test_problems_of_one_service_have_their_position(
    admin: httpx.AsyncClient, body: str, path: str, line: int, column: int
) -> None:
    answer = await admin.put("/v2/services/copy", content=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["path"], error["line"], error["column"]) == (path, line, column)
    if "memry" not in body:  # clients of OSCAR may send fields that are not known
        answer = await admin.post("/system/services", content=body, headers=PROBLEM)
        (error,) = answer.json()["errors"]
        assert (error["path"], error["line"], error["column"]) == (path, line, column)
        assert (await admin.post("/system/services", content=body)).status_code == 400


async def test_what_only_the_whole_catalogue_shows_has_a_position_too(admin: httpx.AsyncClient) -> None:
    place = '[{"storage_provider": "minio", "path": "b-b/x"}]'
    loop = f'{SERVICE}"input": {place},\n"output": {place}}}'
    (error,) = (await admin.put("/v2/services/copy", content=loop)).json()["errors"]
    assert (error["path"], error["line"], error["column"]) == ("service.output", 2, 1)
    (error,) = (await admin.post(APPLY, content=f'{{"services":\n  [{loop}]}}')).json()["errors"]
    assert (error["path"], error["line"], error["column"]) == ("services[0].output", 3, 1)


async def test_a_request_without_a_document_has_no_position(admin: httpx.AsyncClient) -> None:
    (error,) = (await admin.get("/v2/jobs?limit=x")).json()["errors"]
    assert "line" not in error


@pytest.mark.parametrize("media", ["application/yaml", "application/x-yaml; charset=utf-8", "text/yaml"])
async def test_yaml_is_taken_by_its_content_types(admin: httpx.AsyncClient, invoker: ApiInvoker, media: str) -> None:
    headers = {"Content-Type": media}
    assert (await admin.post(APPLY, content=text_of("vo: 1.10"), headers=headers)).status_code == 200
    text = "name: copy\nimage: busybox\nscript: 'true'\nvo: 1.20\n"
    assert (await admin.put("/v2/services/copy", content=text, headers=headers)).status_code == 200
    assert invoker.services()[0].service.vo == "1.20"
    assert (await admin.put("/system/services", content=text, headers=headers)).status_code == 204
    refused = await admin.post("/v2/services/copy:rollback", content="revision: 1", headers=headers)
    assert refused.status_code == 415


async def test_a_path_where_the_script_is_expected_is_warned_of(admin: httpx.AsyncClient) -> None:
    text = text_of("").replace("|\n", "script.sh\n").replace('        cat "$INPUT_FILE_PATH"\n', "")
    (warning,) = (await admin.post(DRY, content=text, headers=YAML)).json()["warnings"]
    assert warning.startswith("functions.oscar[0].here.script is 'script.sh', which looks like a path")


async def test_hostile_bodies_are_refused(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    for content in ("[" * 90_000, "a: " + "{a: " * 20_000, bomb, "\0", b"\xff", "a: *b", "? [a]\n: b"):
        answer = await admin.post(APPLY, content=content, headers=YAML)
        assert answer.status_code in (400, 422), answer.text
    for content in ("[" * 90_000, '{"a":' * 15_000, '{"services": [{"x": ' + "9" * 90_000 + "}]}"):
        assert (await admin.post(APPLY, content=content)).status_code in (400, 422)
    deep = json.dumps({"filter": "(" * 50_000})[1:]
    assert (await admin.put("/v2/services/copy", content=SERVICE + deep)).status_code == 422
    assert invoker.services() == []
