# SPDX-License-Identifier: Apache-2.0
"""What is asked of a job, when waiting ends, and what happens where no server answers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from ansible_collections.fedcloud.oscar.plugins.module_utils._api.client import Unreachable
from ansible_collections.fedcloud.oscar.plugins.module_utils._api.wait import TimedOut, assume_new, poll
from ansible_collections.fedcloud.oscar.plugins.module_utils._jobs.jobs import verb_for

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


class Task:
    """A task as far as ``assume_new`` looks at it."""

    def __init__(self, check_mode: bool, new_server: bool) -> None:
        self.check_mode = check_mode
        self.params = {"new_server": new_server}
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize(("check_mode", "new_server"), [(False, False), (False, True), (True, False)])
def test_a_server_that_is_away_is_an_error(check_mode: bool, new_server: bool) -> None:
    with pytest.raises(Unreachable, match="away"):
        assume_new(Task(check_mode, new_server), Unreachable("away"), "nothing is checked")


def test_a_server_that_is_yet_to_be_installed_may_be_away_in_check_mode() -> None:
    task = Task(True, True)
    assume_new(task, Unreachable("away"), "nothing is checked")
    assert task.warnings == ["away; nothing is checked"]
