# SPDX-License-Identifier: Apache-2.0
"""Why a file did not run: who watches where, what is missing, and which service is meant."""

from __future__ import annotations

from typing import Any

import pytest

from oscar_fedcloud.domain.events import EventOutcome, StorageEvent
from oscar_fedcloud.domain.explanations import Explanation
from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.fdl import Service, parse_service
from oscar_fedcloud.invocations.explain import Facts, answers
from oscar_fedcloud.invocations.wait_reasons import Wait
from oscar_fedcloud.ledger import Trace


def service(name: str, *inputs: str, output: str = "", **more: Any) -> Service:
    document = {"name": name, "image": "x", "script": "#!/bin/sh\n", "memory": "1Gi"}
    places = [{"storage_provider": "minio", "path": path, **more} for path in inputs]
    outputs = [{"storage_provider": "minio", "path": output}] if output else []
    return parse_service({**document, "input": places, "output": outputs})


CSV = service("csv", "data/in", output="data/out", suffix=[".csv"])
PLAIN = service("plain", "texts/in")


def facts(*services: Service, **more: Any) -> Facts:
    return Facts({one.name: one for one in services}, **{"buckets": frozenset({"data", "texts"}), **more})


@pytest.mark.parametrize(
    ("bucket", "key", "service", "wanted"),
    [
        (
            "data",
            "in2/a.csv",
            "",
            Explanation("csv", "no_service", "no service watches data/in2/, csv watches data/in/"),
        ),
        (
            "data",
            "in2/a.csv",
            "csv",
            Explanation("csv", "no_service", "service csv does not watch data/in2/, csv watches data/in/"),
        ),
        (
            "data",
            "out/a.csv",
            "",
            Explanation("csv", "no_service", "no service watches data/out/, csv watches data/in/, csv writes there"),
        ),
        (
            "nosuch",
            "in/a.csv",
            "",
            Explanation(
                "", "no_service", "bucket nosuch does not exist, csv watches data/in/, plain watches texts/in/"
            ),
        ),
        ("data", "in/a.csv", "nope", Explanation("nope", "no_service", "service nope is not declared")),
        (
            "data",
            "in/a.csv",
            "cvs",
            Explanation("cvs", "no_service", "service cvs is not declared; did you mean csv?"),
        ),
        (
            "data",
            "in/",
            "",
            Explanation("csv", "no_service", "in/ is a folder, ask for a file in it; csv watches data/in/"),
        ),
        (
            "data",
            "in/a.txt",
            "",
            Explanation("csv", "filtered", "its input data/in/ takes only names that end in .csv"),
        ),
        (
            "data",
            "in/a.csv",
            "",
            Explanation("csv", "unknown", "no event and no listing has shown this object so far"),
        ),
        ("texts", "a", "", Explanation("plain", "no_service", "no service watches texts/, plain watches texts/in/")),
    ],
)
def test_an_object_that_nobody_told_of(bucket: str, key: str, service: str, wanted: Explanation) -> None:
    assert answers([], bucket, key, service, facts(CSV, PLAIN)) == [wanted]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"exists": False}, "the store has no object data/in/a.csv; service csv takes it when it is uploaded"),
        ({"exists": True}, "the next listing of data finds it"),
        ({"unready": {"csv": "its key is being made"}}, "service csv is not ready: its key is being made"),
        ({"buckets": frozenset()}, "bucket data does not exist; it is made again for service csv"),
        ({"note": "in/a.csv is a symbolic link"}, "in/a.csv is a symbolic link"),
        ({"buckets": None}, "no event and no listing has shown this object so far"),
    ],
)
def test_what_the_store_and_the_service_say(more: dict[str, Any], words: str) -> None:
    (answer,) = answers([], "data", "in/a.csv", "", facts(CSV, **more))
    assert (answer.service, answer.answer) == ("csv", "unknown")
    assert words in answer.detail


def test_without_services_nothing_is_watched() -> None:
    (answer,) = answers([], "data", "in/a.csv", "", facts())
    assert answer == Explanation("", "no_service", "no service watches data/in/, no service has an input")


def trace(outcome: EventOutcome, detail: str = "", runs: tuple[Run, ...] = ()) -> Trace:
    known = {"detail": detail, "received": 1.0, "runs": list(runs), "seen": []}
    return Trace(event_id="e", order=EVENT.order, event=EVENT, outcome=outcome, **known)


EVENT = StorageEvent("minio.default", "data", "in/a.txt", "r1", 1)


def test_every_service_that_left_it_out_has_an_answer_of_its_own() -> None:
    told = trace(EventOutcome.FILTERED, "csv: the suffix rule leaves it out; plain: its filter failed (a; b: c)")
    found = answers([told], "data", "in/a.txt", "", facts(CSV, PLAIN))
    assert (found[0].service, found[0].answer) == ("csv", "filtered")
    assert found[0].detail == "the suffix rule leaves it out"
    assert [one.service for one in answers([told], "data", "in/a.txt", "csv", facts(CSV, PLAIN))] == ["csv"]


def test_an_event_that_no_service_took_names_who_watches() -> None:
    (answer,) = answers([trace(EventOutcome.NO_SERVICE)], "data", "in2/a.csv", "", facts(CSV))
    assert answer.detail == ("no service took it when it came; no service watches data/in2/, csv watches data/in/")
    (later,) = answers([trace(EventOutcome.NO_SERVICE)], "data", "in/a.csv", "", facts(CSV))
    assert later.detail.endswith("csv watches data/in/ now: upload the object again")


def test_a_waiting_run_says_what_for() -> None:
    run = Run("r1", "csv", EVENT, RunState.QUEUED, "", 0, 0, 0, 0.0, 1.0, None)
    waits = {"r1": Wait("site_limit", "the site runs 2 of 2 jobs")}
    (answer,) = answers([trace(EventOutcome.MATCHED, "", (run,))], "data", "in/a.csv", "", facts(CSV, waits=waits))
    assert answer == Explanation("csv", "waiting", "the site runs 2 of 2 jobs", "r1")
