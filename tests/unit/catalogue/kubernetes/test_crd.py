# SPDX-License-Identifier: Apache-2.0
"""The CustomResourceDefinition: current, of the form that Kubernetes takes, and wide enough for every document."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from parts.fdl_cases import FULL, full, minimal, place, unhurried
from parts.fdl_services import services

from oscar_fedcloud.catalogue.kubernetes.crd import definition, spec_schema
from oscar_fedcloud.catalogue.kubernetes.spec_codec import spec_of
from oscar_fedcloud.fdl import parse_service, to_document

FILE = Path(__file__).parents[4] / "roles" / "invoker" / "files" / "kubernetes" / "crd.yaml"
SPEC = spec_schema()
VALIDATOR = jsonschema.Draft202012Validator(SPEC)
FORBIDDEN = {"$ref", "$defs", "pattern", "propertyNames", "anyOf", "oneOf", "not", "const", "default", "deprecated"}


def test_the_manifest_is_current() -> None:
    module = "oscar_fedcloud.catalogue.kubernetes"
    made = subprocess.run([sys.executable, "-m", module], capture_output=True, check=True, text=True)
    assert FILE.read_text() == made.stdout, f"run: python -m {module} > {FILE.relative_to(FILE.parents[4])}"


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    inner = [*schema.get("properties", {}).values()]
    inner += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    for one in inner:
        yield from nodes(one)


def test_the_schema_is_structural() -> None:
    """What Kubernetes asks of a schema: a type at each place, and none of the words that it does not know."""
    whole = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for node in nodes(whole):
        assert not FORBIDDEN & node.keys(), node
        assert isinstance(node.get("type"), str) or node["x-kubernetes-preserve-unknown-fields"] is True
        assert not ("properties" in node and "additionalProperties" in node)


def unknown(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """The places that the API server would drop, because the schema does not name them."""
    if isinstance(value, dict) and "properties" in schema:
        for name, member in value.items():
            if name not in schema["properties"]:
                yield f"{path}.{name}"
            else:
                yield from unknown(schema["properties"][name], member, f"{path}.{name}")
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from unknown(schema.get("additionalProperties", {}), member, f"{path}.{name}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from unknown(schema.get("items", {}), member, f"{path}[{index}]")


def test_it_takes_every_field() -> None:
    spec = spec_of(FULL)
    assert list(unknown(SPEC, spec)) == []
    assert [error.json_path for error in VALIDATOR.iter_errors(spec)] == []
    assert list(unknown(SPEC, full())) == []
    assert SPEC["required"] == ["image", "script"]


@unhurried
@given(services())
def test_it_takes_every_document_that_the_daemon_writes(document: dict[str, Any]) -> None:
    spec = spec_of(to_document(parse_service(document)))
    assert [error.json_path for error in VALIDATOR.iter_errors(spec)] == []
    assert list(unknown(SPEC, spec)) == []


@pytest.mark.parametrize("value", [1.1, 493, True])
def test_variables_are_text_as_in_pods_since_kubectl_has_read_what_was_written(value: Any) -> None:
    document = minimal(environment={"variables": {"N": value}})
    assert [error.json_path for error in VALIDATOR.iter_errors(document)] == ["$.environment.variables.N"]


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu": 0.5, "memory": 536870912},
        {"retry": 3},
        {"timeout": "1h30m"},
        {"expose": {"api_port": 8080}},
        {"environment": {"Variables": {"N": "1"}}},
        {"input": [place("a/b", provider="minio", suffix=[".jpg"])]},
    ],
)
def test_it_takes_the_usual_spellings(fields: dict[str, Any]) -> None:
    document = {name: value for name, value in minimal(**fields).items() if name != "name"}
    assert [error.json_path for error in VALIDATOR.iter_errors(document)] == []
    assert list(unknown(SPEC, document)) == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"enable_gpu": "yes"}, "$.enable_gpu"),
        ({"visibility": "secret"}, "$.visibility"),
        ({"concurrency": -1}, "$.concurrency"),
        ({"input": [{"path": "a/b"}]}, "$.input[0]"),
        ({"labels": {"a": 1}}, "$.labels.a"),
    ],
)
def test_it_refuses_wrong_types(fields: dict[str, Any], where: str) -> None:
    assert [error.json_path for error in VALIDATOR.iter_errors(minimal(**fields))] == [where]
