# SPDX-License-Identifier: Apache-2.0
"""Secrets are never in a problem, a repr, a diff or a hidden document, and survive a document that comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.fdl_cases import SECRETS, TOKEN, file_of, full, minimal, spots, unhurried

from oscar_fedcloud.fdl import (
    FdlError,
    diff_documents,
    hide,
    keep_secrets,
    make_problem,
    parse_fdl,
    parse_service,
    to_document,
)


def leaks(text: str) -> list[str]:
    return [secret for secret in (*SECRETS, TOKEN) if secret in text]


def test_the_full_document_holds_every_sort_of_secret() -> None:
    assert len(leaks(json.dumps(full()))) == 9  # else the tests below prove nothing


def test_repr_has_no_secret() -> None:
    service = parse_service(full())
    assert not leaks(repr(service))
    assert not leaks(repr(parse_fdl(file_of(full()))))
    assert not leaks(repr(service.environment) + repr(service.federation))
    assert "Grayscale" in repr(service)


def test_hidden_documents_keep_their_shape() -> None:
    service = parse_service(full())
    hidden = to_document(service, secrets=False)
    assert not leaks(json.dumps(hidden))
    assert hidden == hide(to_document(service))
    assert hidden["environment"] == {"variables": {"MODE": "fast"}, "secrets": {"PASSWORD": "hidden"}}
    assert hidden["storage_providers"]["s3"]["archive"]["access_key"] == "AKIA"
    assert hidden["token"] == hidden["clusters"]["oscar-us"]["auth_password"] == "hidden"
    assert to_document(parse_service(minimal()), secrets=False)["token"] == ""


def test_unknown_fields_that_sound_secret_are_hidden_too() -> None:
    document = minimal(api_key="abc", vault={"password": "def", "list": ["x"]}, plain="ghi")
    hidden = to_document(parse_service(document, strict=False), secrets=False)
    assert (hidden["api_key"], hidden["vault"], hidden["plain"]) == (
        "hidden",
        {"password": "hidden", "list": ["x"]},
        "ghi",
    )


def test_a_changed_secret_is_a_change_without_its_value() -> None:
    before = full()
    after = full(
        environment={"variables": {"MODE": "slow"}, "secrets": {"PASSWORD": SECRETS[8], "NEW": SECRETS[8]}}, token=""
    )
    changes = diff_documents(before, after)
    assert [(change.path, change.before, change.after) for change in changes] == [
        ("token", "hidden", ""),
        ("environment.variables.MODE", "fast", "slow"),
        ("environment.secrets.PASSWORD", "hidden", "hidden (changed)"),
        ("environment.secrets.NEW", None, "hidden"),
    ]


def test_diffs_of_whole_documents_have_no_secret() -> None:
    document = to_document(parse_service(full()))
    for before, after in ((document, None), (None, document), (document, minimal()), (minimal(), document)):
        assert not leaks(repr(diff_documents(before, after)))


def test_sending_back_what_was_shown_changes_nothing() -> None:
    service = parse_service(full())
    shown = to_document(service, secrets=False)
    for strict in (True, False):
        back = parse_service(json.loads(json.dumps(shown)), strict=strict)
        assert back != service
        assert keep_secrets(back, service) == service


def test_a_new_value_beside_hidden_ones_is_taken() -> None:
    service = parse_service(full())
    shown = to_document(service, secrets=False)
    shown["environment"]["secrets"]["PASSWORD"] = "new"
    shown["memory"] = "2Gi"
    kept = keep_secrets(parse_service(shown), service)
    assert (kept.memory, kept.environment.secrets["PASSWORD"], kept.token) == ("2Gi", "new", TOKEN)
    assert kept.storage_providers == service.storage_providers


def test_the_token_stays_when_it_is_not_given() -> None:
    before = parse_service(minimal(token=TOKEN))
    assert keep_secrets(parse_service(minimal(memory="1Gi")), before).token == TOKEN
    assert keep_secrets(parse_service(minimal(token="hidden")), None).token == ""


def test_a_hidden_secret_without_an_earlier_value_is_a_problem() -> None:
    service = parse_service(minimal(environment={"secrets": {"A": "hidden", "B": "x"}}))
    with pytest.raises(FdlError) as caught:
        keep_secrets(service, parse_service(minimal()), "here")
    (problem,) = caught.value.problems
    assert (problem.path, problem.value, problem.hint) == ("here.environment.secrets.A", "hidden", "give the value")


def secrets_in(value: Any) -> list[str]:
    return leaks(json.dumps(value))


def broken(draw: st.DataObject, document: dict[str, Any]) -> dict[str, Any]:
    """The document with one member in another shape, or below a misspelt name."""
    *above, last = draw.draw(st.sampled_from(list(spots(document))))
    outer: Any = document
    for part in above:
        outer = outer[part]
    value = outer[last]
    how = draw.draw(st.sampled_from(["list", "mapping", "flat", "number", "typo"]))
    flat = secrets_in(value)
    if how == "typo" and isinstance(last, str) and len(last) > 3:
        outer[last[:-2] + last[-1] + last[-2]] = outer.pop(last)
    else:
        outer[last] = {"mapping": {"x": value}, "flat": flat[0] if flat else "x", "number": 5}.get(how, [value])
    return document


def problems_of(parse: Callable[[Any], Any], document: Any) -> str:
    """All that is said about a document."""
    try:
        parse(document)
    except FdlError as error:
        return str(error) + repr(error.problems)
    return ""


@unhurried
@given(st.data())
def test_no_problem_shows_a_secret_however_a_document_is_broken(data: st.DataObject) -> None:
    document = broken(data, broken(data, full()))
    assert not leaks(problems_of(parse_service, document))


@unhurried
@given(st.data())
def test_no_problem_of_a_file_shows_a_secret(data: st.DataObject) -> None:
    service = full()
    shared = {name: service.pop(name) for name in ("storage_providers", "clusters")}
    assert not leaks(problems_of(parse_fdl, broken(data, file_of(service, **shared))))


def test_credentials_in_a_url_are_not_shown() -> None:
    problem = make_problem("callback", "https://me:pw@example.org/x", "is not right")
    assert "pw" not in str(problem) + str(problem.value)
