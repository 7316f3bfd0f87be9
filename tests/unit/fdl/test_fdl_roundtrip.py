# SPDX-License-Identifier: Apache-2.0
"""Writing a service and reading it again changes nothing, for any service."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
from typing import Any

import pytest
from fdl_cases import FULL, full, minimal, spots, unhurried
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.fdl import FdlError, Service, diff_documents, from_document, normalise, parse_service, to_document

NAMES = st.from_regex(r"[a-wyz][-a-z0-9]{1,36}[a-z0-9]", fullmatch=True)
BUCKETS = st.from_regex(r"[a-wyz][a-z0-9-]{1,20}[a-z0-9]", fullmatch=True)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
WORDS = st.text(st.characters(exclude_characters="\0*", exclude_categories=["Cs"]), min_size=1, max_size=8)
FOLDERS = st.lists(st.from_regex(r"[A-Za-z0-9é+%' _]*[A-Za-z0-9é+%'_]", fullmatch=True), min_size=1, max_size=3).map(
    "/".join
)
VARIABLES = st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), TEXT, max_size=3)
MEMORY = st.sampled_from(["256Mi", "1.5Gi", "2G", "1e9", 2**30, "4096Ki", " 1Gi "])
CPU = st.sampled_from(["0.2", "500m", 1, 2.5, "1", ".5"])
LISTS = st.lists(WORDS, max_size=3)


@st.composite
def places(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """One input or output."""
    path = draw(st.one_of(st.tuples(BUCKETS, FOLDERS).map("/".join), st.just("in"), st.just("/in/")))
    provider = draw(st.sampled_from(["minio", "minio.default"]))
    more = draw(st.fixed_dictionaries({}, optional={"prefix": LISTS, "suffix": LISTS, **fields}))
    return {"storage_provider": provider, "path": path, **more}


OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "memory": MEMORY,
    "cpu": CPU,
    "total_memory": MEMORY | st.just(""),
    "input": st.lists(places({"existing": st.sampled_from(["ignore", "process"])}), max_size=3),
    "output": st.lists(places({}), max_size=3),
    "environment": st.fixed_dictionaries({}, optional={"Variables": VARIABLES}),
    "retry": st.integers(1, 9)
    | st.fixed_dictionaries({}, optional={"attempts": st.integers(1, 9), "backoff": st.just("30s")}),
    "timeout": st.sampled_from([0, 90, "30s", "1h30m"]),
    "concurrency": st.integers(0, 50),
    "filter": TEXT,
    "log_level": st.sampled_from(["debug", "INFO", "Error"]),
    "expose": st.fixed_dictionaries(
        {}, optional={"api_port": st.integers(0, 65535) | st.lists(st.integers(1, 65535), max_size=3)}
    ),
    "replicas": st.lists(st.just({"type": "endpoint", "url": "https://example.org"}), max_size=2),
    "callback": st.sampled_from(["", "https://example.org/x?y=z", "http://h:8080"]),
    "alpine": st.booleans(),
}


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document in any spelling."""
    more = draw(st.fixed_dictionaries({}, optional=OPTIONAL))
    script = draw(TEXT.map(lambda text: "#!/bin/sh\r\n" + text))
    return {
        "name": draw(NAMES),
        "image": "x",
        "script": script,
        **more,
    }


@unhurried
@given(services())
def test_what_is_written_reads_back(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    service = parse_service(document)
    assert document == before
    written = to_document(service)
    assert parse_service(written) == service
    assert parse_service(written, strict=False) == service
    assert from_document(json.loads(json.dumps(written))) == service
    assert to_document(from_document(written)) == written
    assert normalise(service) == service
    assert diff_documents(written, written) == []


@unhurried
@given(services(), services())
def test_a_difference_is_shown_exactly_when_there_is_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    left, right = to_document(parse_service(one)), to_document(parse_service(other))
    changes = diff_documents(left, right)
    assert bool(changes) == (left != right)
    assert len({change.path for change in changes}) == len(changes)


ODD = [None, 0, -1, 2.5, float("nan"), float("inf"), 10**400, "", "x", "\ud800", "\0", True, [], [None], {}, {"": None}]
ODD += [{1: 2}, {None: 1}, (1, 2), b"x", datetime.date(2024, 1, 1), {"x": {"y": [{}]}}, "a" * 5000]


@unhurried
@given(st.sampled_from(list(spots(FULL))), st.sampled_from(ODD), st.booleans())
def test_an_odd_value_is_a_problem_or_reads_back(spot: tuple[Any, ...], odd: Any, strict: bool) -> None:
    document: Any = full()
    outer = document
    for part in spot[:-1]:
        outer = outer[part]
    outer[spot[-1]] = copy.deepcopy(odd)
    try:
        service = parse_service(document, strict=strict)
    except FdlError as error:
        json.dumps([vars(problem) for problem in error.problems], allow_nan=False)
        return
    written = to_document(service)
    assert from_document(written) == service
    assert parse_service(written, strict=strict) == service


def test_the_full_document_has_every_field_and_no_default() -> None:
    service = parse_service(full())
    bare = parse_service(minimal())
    for field in dataclasses.fields(Service):
        if field.name != "extra":
            assert getattr(service, field.name) != getattr(bare, field.name), field.name
    assert to_document(service) == FULL
    assert from_document(FULL) == service


def test_a_service_cannot_be_changed() -> None:
    service = parse_service(minimal())
    with pytest.raises(dataclasses.FrozenInstanceError):
        service.memory = "1Gi"  # type: ignore[misc]
