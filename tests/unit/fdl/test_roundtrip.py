# SPDX-License-Identifier: Apache-2.0
"""Writing a service and reading it again changes nothing, for any service."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.fdl_cases import FULL, full, minimal, spots, unhurried
from parts.fdl_services import services

from oscar_fedcloud.fdl import FdlError, Service, diff_documents, from_document, normalise, parse_service, to_document


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
