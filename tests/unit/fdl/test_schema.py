# SPDX-License-Identifier: Apache-2.0
"""The JSON schema and the reference page are made from the field table and are current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from parts.fdl_cases import BY_VERSION, FULL, file_of, full, minimal, place, unhurried
from parts.fdl_services import services

from oscar_fedcloud.fdl import json_schema, markdown, parse_fdl, parse_service, to_document

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def errors(document: Any) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(document)]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("option", "name"), [("--markdown", "fdl.md"), ("--schema", "fdl.schema.json")])
def test_the_published_files_are_current(option: str, name: str) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "oscar_fedcloud.fdl", option], capture_output=True, check=True, text=True
    )
    assert (DOCS / name).read_text() == made.stdout, f"run: python -m oscar_fedcloud.fdl {option} > docs/{name}"


def test_every_field_of_the_full_document_is_described() -> None:
    page = markdown()
    for name in (*FULL, *FULL["expose"], *FULL["kserve"], *FULL["retry"], *FULL["federation"]):
        assert f"| `{name}`" in page, name
    for definition in SCHEMA["$defs"].values():
        assert definition["additionalProperties"] is False
        assert all(field["description"] for field in definition["properties"].values())


@unhurried
@given(services())
def test_what_the_parser_takes_the_schema_takes(document: dict[str, Any]) -> None:
    parse_fdl(file_of(document))
    assert errors(file_of(document)) == []
    assert errors(file_of(to_document(parse_service(document)))) == []


def test_the_schema_takes_all_fields_and_old_spellings() -> None:
    assert errors(file_of(full())) == []
    old: dict[str, Any] = {}
    for fields in BY_VERSION.values():
        old.update(fields)
        assert errors(file_of(old)) == []
    assert errors({"functions": {"aws": [{"lambda": {"name": "f", "memory": 5}, "iam": {"role": "x"}}]}}) == []
    assert errors(file_of(minimal(replicas=[], delegation="static", rescheduler_threshold=5))) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"memroy": "1Gi"},
        {"name": "Bad_Name"},
        {"memory": "2 GB"},
        {"cpu": "two"},
        {"timeout": "soon"},
        {"concurrency": -1},
        {"alpine": "yes"},
        {"log_level": "LOUD"},
        {"visibility": "Private"},
        {"callback": "ftp://x"},
        {"callback": "https://u:p@h/"},
        {"input": [place("../x")]},
        {"input": [place("bucket/../x")]},
        {"input": [place("bucket//x")]},
        {"input": [place("bucket/x", "gcs.default")]},
        {"input": [place("bucket/x", suffix=["*.jpg"])]},
        {"input": [{"path": "bucket/x"}]},
        {"expose": {"api_port": 70000}},
        {"environment": {"variables": {"1A": "x"}}},
        {"labels": {"a": "x y"}},
        {"volume": {"mount_path": "data"}},
        {"retry": 0},
        {"kserve": {"type": "x", "storage_uri": "gs://x/y"}},
    ],
)
def test_what_the_schema_refuses(fields: dict[str, Any]) -> None:
    assert errors(file_of({**minimal(), **fields})) != []
    assert errors(file_of(minimal())) == []


def test_required_fields() -> None:
    for name in ("name", "image", "script"):
        document = minimal()
        del document[name]
        assert errors(file_of(document)) != []
    assert errors({"storage_providers": {}}) != []
