# SPDX-License-Identifier: Apache-2.0
"""What is asked of a job, when waiting ends, and which objects are a job's results."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from ansible_collections.fedcloud.oscar.plugins.module_utils._client import Unreachable
from ansible_collections.fedcloud.oscar.plugins.module_utils._jobs import verb_for
from ansible_collections.fedcloud.oscar.plugins.module_utils._results import choose
from ansible_collections.fedcloud.oscar.plugins.module_utils._wait import TimedOut, poll

ENDED_BADLY = ("failed", "cancelled", "superseded", "input_gone")


@pytest.mark.parametrize(
    ("wanted", "verb", "states"),
    [
        ("cancelled", "cancel", ("queued", "running")),
        ("retried", "retry", ENDED_BADLY),
        ("replayed", "replay", ("succeeded", *ENDED_BADLY)),
    ],
)
def test_a_job_is_asked_only_where_it_helps(wanted: str, verb: str, states: tuple[str, ...]) -> None:
    for state in ("queued", "running", "succeeded", *ENDED_BADLY):
        assert verb_for(wanted, state) == (verb if state in states else None)


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_polling_ends_with_what_was_found() -> None:
    time, answers = Time(), [None, None, "found"]
    assert poll(lambda: answers.pop(0), 60, str, time.clock, time.sleep) == "found"
    assert answers == []


def test_polling_asks_once_more_at_the_end_of_the_time() -> None:
    time, asked = Time(), []

    def probe() -> None:
        asked.append(time.now)

    with pytest.raises(TimedOut, match=r"^after 5 seconds job x is still queued$"):
        poll(probe, 5, lambda: "job x is still queued", time.clock, time.sleep)
    assert asked[-1] == 5
    assert max(later - earlier for earlier, later in pairwise(asked)) <= 2


def test_polling_survives_a_restart_of_the_server() -> None:
    time, answers = Time(), [Unreachable("away"), "found"]

    def probe() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert poll(probe, 60, str, time.clock, time.sleep) == "found"
    answers.extend([Unreachable("it is away")] * 100)
    with pytest.raises(TimedOut, match="after 5 seconds it is away"):
        poll(probe, 5, str, time.clock, time.sleep)


def rows(*names: str, modified: str = "2026-11-24T10:00:00.000Z") -> list[dict[str, Any]]:
    return [{"key": f"out/{name}", "modified": modified} for name in names]


def test_results_are_known_by_the_name_of_the_input() -> None:
    listing = rows("rowers.png", "rowers_grey.jpg", "rowers2.png", "other.png", "sub/a-rowers.txt", modified="2026")
    chosen = [row["key"] for row in choose(listing, "in/rowers.jpg", "2027")]
    assert chosen == ["out/rowers.png", "out/rowers_grey.jpg", "out/sub/a-rowers.txt"]


def test_results_without_that_name_are_those_since_the_start() -> None:
    listing = [*rows("old.txt", modified="2026-11-24T09:59:59.999Z"), *rows("new.txt")]
    for key in ("in/rowers.jpg", ""):
        assert [row["key"] for row in choose(listing, key, "2026-11-24T10:00:00.000Z")] == ["out/new.txt"]


def test_an_input_is_never_its_own_result() -> None:
    assert choose(rows("rowers.jpg"), "out/rowers.jpg", "2026") == []
