# SPDX-License-Identifier: Apache-2.0
"""Documents on their way into an ``OscarService`` and back, and what stands beside it."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace
from parts.fdl_cases import FULL, SECRETS, TOKEN, full, minimal, place, unhurried
from parts.fdl_services import services

from oscar_fedcloud.catalogue.entries import Entry, InputState
from oscar_fedcloud.catalogue.kubernetes.conditions import inputs_of, problem_text, status_of
from oscar_fedcloud.catalogue.kubernetes.secret_codec import (
    Data,
    SecretRecord,
    keys_data,
    refused_data,
    revision_data,
    secret_manifest,
    superfluous,
)
from oscar_fedcloud.catalogue.kubernetes.spec_codec import read_spec, refused_document, spec_of, without_secrets
from oscar_fedcloud.catalogue.rules import document_rules
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import FdlError, FdlProblem, Service, parse_service, to_document
from oscar_fedcloud.launchers.kubernetes.template import MANAGED

STORES = ("minio.default",)
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def entry(revision: int = 1, **fields: Any) -> Entry:
    document = to_document(parse_service({**minimal(**fields), "token": TOKEN}))
    return Entry(name="grayify", revision=revision, created=1.0, changed=2.0, document=document)


def read(spec: dict[str, Any], before: Service | None = None, refused: dict[str, Any] | None = None) -> Service:
    return read_spec("grayify", spec, before, refused or {}, STORES, document_rules(()))


# -- documents ---------------------------------------------------------------------------------------------------------


@unhurried
@given(services())
def test_what_the_object_shows_is_the_same_service(document: dict[str, Any]) -> None:
    service = parse_service({**document, "filter": "", "token": TOKEN})
    spec = json.loads(json.dumps(spec_of(to_document(service))))
    assert read_spec(service.name, spec, service, {}, STORES) == service


def test_a_full_document_comes_back_with_its_secrets() -> None:
    service = parse_service(full())
    spec = spec_of(FULL)
    assert not [secret for secret in (*SECRETS, TOKEN) if secret in json.dumps(spec)]
    assert "name" not in spec
    assert read_spec("full-service", spec, service, {}, STORES) == service


def test_the_object_shows_only_what_is_not_as_by_default() -> None:
    document = to_document(parse_service(minimal(input=[place("data/b")], retry=3)))
    assert spec_of(document) == {
        "image": "ghcr.io/grycap/imagemagick",
        "script": "echo hello\n",
        "input": [place("data/b")],
        "retry": {"attempts": 3},
    }


def test_unknown_fields_of_the_existing_clients_survive_an_edit() -> None:
    before = parse_service(minimal(novelty={"a": [1]}, input=[place("data/b", later=1)]), strict=False)
    spec = spec_of(to_document(before))
    assert "novelty" not in spec
    edited = read({**spec, "timeout": 5, "input": []}, before)
    assert (edited.extra, edited.timeout) == ({"novelty": {"a": [1]}}, 5)


def test_the_name_is_that_of_the_object() -> None:
    spec = spec_of(to_document(parse_service(minimal())))
    assert read({**spec, "name": "grayify"}).name == "grayify"
    with pytest.raises(FdlError) as raised:
        read({**spec, "name": "other"})
    assert [problem.path for problem in raised.value.problems] == ["spec.name"]


def test_problems_name_their_place_in_the_object() -> None:
    with pytest.raises(FdlError) as raised:
        read({"image": "i", "script": "s", "memory": "2 GB", "input": [place("a//b")], "filter": "(("})
    assert {problem.path for problem in raised.value.problems} == {"spec.memory", "spec.input[0].path", "spec.filter"}


def test_a_callback_that_may_not_go_where_it_points_is_a_problem() -> None:
    with pytest.raises(FdlError) as raised:
        read({"image": "i", "script": "s", "callback": "http://10.0.0.1/done"})
    (problem,) = raised.value.problems
    assert problem.path == "spec.callback"
    assert "callback_networks" in problem.hint


def test_hidden_secrets_come_from_the_last_good_revision_or_from_what_was_refused() -> None:
    before = parse_service(minimal(environment={"secrets": {"A": "from the revision", "B": "old"}}))
    refused = {"environment": {"secrets": {"B": "from the refused one"}}}
    spec = {"image": "i", "script": "s", "environment": {"secrets": {"A": "hidden", "B": "hidden", "C": "plain"}}}
    secrets = read(spec, before, refused).environment.secrets
    assert secrets == {"A": "from the revision", "B": "from the refused one", "C": "plain"}
    with pytest.raises(FdlError) as raised:
        read(spec)
    places = {problem.path for problem in raised.value.problems}
    assert places == {"spec.environment.secrets.A", "spec.environment.secrets.B"}


def test_a_refused_document_is_remembered_with_what_was_hidden_in_it() -> None:
    spec = {"environment": {"secrets": {"A": "hidden", "B": "new"}}}
    kept = refused_document(spec, {"environment": {"secrets": {"A": "old", "B": "old"}}})
    assert kept == {"environment": {"secrets": {"A": "old", "B": "new"}}}


# -- secrets in the object ---------------------------------------------------------------------------------------------


def manifest(spec: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "full-service", "annotations": annotations}, "spec": spec}


def test_secrets_are_hidden_wherever_the_object_shows_them() -> None:
    found = manifest(full(), note="stays")
    found["metadata"]["annotations"][APPLIED] = json.dumps(found)
    before = copy.deepcopy(found)
    hidden = without_secrets(found)
    assert found == before
    assert hidden is not None
    assert not [secret for secret in (*SECRETS, TOKEN) if secret in json.dumps(hidden)]
    assert hidden["metadata"]["annotations"]["note"] == "stays"
    assert json.loads(hidden["metadata"]["annotations"][APPLIED])["spec"] == hidden["spec"]
    assert without_secrets(hidden) is None  # so that it is written once


@pytest.mark.parametrize("applied", ["", "{", "[]", "null", '{"spec": 1}', "{}"])
def test_a_strange_copy_of_kubectl_is_dropped(applied: str) -> None:
    hidden = without_secrets(manifest({"image": "i"}, **{APPLIED: applied}))
    assert hidden is None or hidden["metadata"]["annotations"] == {}


def test_an_object_without_secrets_is_left_alone() -> None:
    assert without_secrets({"metadata": {"name": "a"}, "spec": {"image": "i"}}) is None


# -- the Secret --------------------------------------------------------------------------------------------------------


def record(*parts: Data) -> SecretRecord:
    data = {name: value for part in parts for name, value in part.items()}
    return SecretRecord(secret_manifest("grayify", data))


def test_the_secret_keeps_revisions_keys_and_a_refused_document() -> None:
    keys = {"minio.default": Credential("access", "secret")}
    kept = record(revision_data(entry(1)), revision_data(entry(2, timeout=5)), keys_data(keys), refused_data({"a": 1}))
    assert (kept.service, kept.keys, kept.refused) == ("grayify", keys, {"a": 1})
    assert kept.sizes.keys() == {1, 2}
    assert kept.entry(2) == entry(2, timeout=5)
    assert kept.current(2) == entry(2, timeout=5)
    assert kept.current(1) == entry(1)
    assert kept.current(0) == entry(2, timeout=5)  # restored without its status
    assert kept.history(2) == [entry(1)]
    assert record().current(3) is None
    assert record(refused_data(None)).refused == {}


def test_the_launcher_does_not_take_the_secret_for_one_of_its_own() -> None:
    """It removes what no Job needs."""
    assert not MANAGED.items() <= secret_manifest("grayify", {})["metadata"]["labels"].items()


def test_a_long_script_is_compressed() -> None:
    long = entry(1, script="echo hello\n" * 50_000)
    kept = record(revision_data(long))
    assert kept.entry(1) == long
    assert kept.sizes[1] < 50_000


def test_inputs_are_no_part_of_a_revision() -> None:
    known = replace(entry(), inputs={"a": InputState(1.0, True)})
    assert record(revision_data(known)).entry(1) == entry()


def test_a_bounded_number_of_revisions_is_kept() -> None:
    sizes = dict.fromkeys(range(1, 21), 100)
    assert sorted(superfluous(sizes, 20, 10)) == list(range(1, 10))
    assert sorted(superfluous(sizes, 18, 3)) == [*range(1, 15), 19, 20]


def test_revisions_never_outgrow_the_secret() -> None:
    chance = random.Random(1)
    for _ in range(200):
        sizes = {number: chance.randrange(1, 700_000) for number in range(1, chance.randrange(2, 15))}
        current = max(sizes)
        kept = sizes.keys() - set(superfluous(sizes, current, 10))
        assert current in kept
        assert sum(sizes[number] for number in kept) <= max(900 * 1024, sizes[current])


# -- the status --------------------------------------------------------------------------------------------------------


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in status["conditions"]}


def test_the_status_of_a_service_that_is_ready() -> None:
    status = status_of(entry(3), "ready", "", "", 7, {}, 0.0)
    assert (status["state"], status["revision"], status["observedGeneration"]) == ("ready", 3, 7)
    accepted = ("False", "DocumentAccepted", "")
    assert conditions(status) == {"Ready": ("True", "Ready", ""), "Invalid": accepted}
    assert {one["lastTransitionTime"] for one in status["conditions"]} == {"1970-01-01T00:00:00Z"}


def test_the_status_of_a_service_in_error() -> None:
    status = status_of(entry(), "error", "no store", "", 1, {}, 0.0)
    assert conditions(status)["Ready"] == ("False", "Error", "no store")
    assert (status["state"], status["message"]) == ("error", "no store")


def test_a_refused_document_shows_while_the_last_good_revision_is_ready() -> None:
    status = status_of(entry(3), "ready", "", "spec.cpu: no", 8, {}, 0.0)
    assert (status["state"], status["message"], status["revision"]) == ("invalid", "spec.cpu: no", 3)
    refused = ("True", "DocumentRefused", "spec.cpu: no")
    assert conditions(status) == {"Ready": ("True", "Ready", ""), "Invalid": refused}
    assert conditions(status_of(None, "error", "", "spec.cpu: no", 8, {}, 0.0))["Ready"][:2] == ("False", "Invalid")


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = status_of(entry(1), "pending", "soon", "", 1, {}, 10.0)
    second = status_of(entry(1), "ready", "", "", 1, first, 20.0)
    third = status_of(entry(2), "ready", "", "", 2, second, 30.0)
    times = {one["type"]: one["lastTransitionTime"][-3:-1] for one in third["conditions"]}
    assert times == {"Ready": "20", "Invalid": "10"}


def test_the_baselines_of_inputs_come_back_from_the_status() -> None:
    known = entry(1, input=[place("data/b"), place("more/d")])
    states = {"minio.default/data/b/": InputState(5.0, True), "minio.default/more/d/": InputState(6.0)}
    status = json.loads(json.dumps(status_of(replace(known, inputs=states), "ready", "", "", 1, {}, 0.0)))
    assert inputs_of(status, known) == states
    lost = inputs_of({}, known)
    assert lost == {name: InputState(known.changed, False) for name in states}


def test_a_message_has_a_bound() -> None:
    problems = [FdlProblem(f"spec.a[{number}]", None, "is wrong " * 20, "") for number in range(1000)]
    text = problem_text(problems)
    assert len(text) == 8 * 1024
    assert text.endswith(" ...")
