# SPDX-License-Identifier: Apache-2.0
"""Which runs start, and what follows from the end of an attempt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.dispatch.decisions import backoff, choose, transition
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState
from oscar_fedcloud.fdl import Retry
from oscar_fedcloud.ledger import Candidate

EVENT = StorageEvent("minio.default", "bucket", "in/a", "r1", 1)


def a_run(identity: str, service: str = "s", **fields: object) -> Run:
    run = Run(identity, service, EVENT, RunState.QUEUED, "", 0, 0, 0, 0.0, 0.0, None)
    return replace(run, **fields)


def candidates(service: str, count: int, **flags: bool) -> list[Candidate]:
    return [
        Candidate(a_run(f"{service}{index}", service), flags.get("newer", False), flags.get("busy", False))
        for index in range(count)
    ]


def test_services_are_served_in_turn() -> None:
    choice = choose({"a": candidates("a", 100), "b": candidates("b", 2)}, {"a": 100, "b": 100}, total=6)
    assert [run.id for run in choice.starts] == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_older_revision_is_superseded_and_never_started() -> None:
    choice = choose({"a": candidates("a", 1, newer=True) + candidates("b", 1)}, {"a": 5}, total=5)
    assert [run.id for run in choice.superseded] == ["a0"]
    assert [run.id for run in choice.starts] == ["b0"]


def test_a_key_that_is_busy_waits_without_taking_a_place() -> None:
    choice = choose({"a": candidates("x", 3, busy=True) + candidates("y", 2)}, {"a": 2}, total=9)
    assert [run.id for run in choice.starts] == ["y0", "y1"]
    assert choice.superseded == ()


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 20), max_size=5),
    st.dictionaries(st.sampled_from("abcde"), st.integers(-3, 10)),
    st.integers(-3, 30),
)
def test_no_limit_is_ever_exceeded_and_no_place_is_wasted(
    queued: dict[str, int], room: dict[str, int], total: int
) -> None:
    choice = choose({name: candidates(name, count) for name, count in queued.items()}, room, total)
    started = {name: sum(run.service == name for run in choice.starts) for name in queued}
    possible = {name: min(count, max(0, room.get(name, 0))) for name, count in queued.items()}
    assert all(started[name] <= possible[name] for name in queued)
    assert len(choice.starts) == min(max(0, total), sum(possible.values()))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (AttemptState.SUCCEEDED, RunState.SUCCEEDED),
        (AttemptState.CANCELLED, RunState.CANCELLED),
        (AttemptState.INPUT_GONE, RunState.INPUT_GONE),
        (AttemptState.INPUT_CHANGED, RunState.SUPERSEDED),
        (AttemptState.FAILED, RunState.FAILED),
        (AttemptState.TIMEOUT, RunState.FAILED),
        (AttemptState.OOM, RunState.FAILED),
        (AttemptState.LOST, RunState.QUEUED),
        (AttemptState.LAUNCH_FAILED, RunState.QUEUED),
    ],
)
def test_without_retry_only_infrastructure_is_repeated(state: AttemptState, expected: RunState) -> None:
    decision = transition(a_run("r"), Retry(), "http://callback", Completion("j", state, 1, "why"), 100.0, 0.5)
    assert decision.state is expected
    assert decision.reason == "why"
    assert decision.callback == ("" if expected is RunState.QUEUED else "http://callback")
    assert (decision.not_before > 100.0) == (expected is RunState.QUEUED)


@given(st.integers(1, 6), st.integers(0, 8), st.sampled_from([AttemptState.FAILED, AttemptState.LOST]))
def test_failures_of_script_and_infrastructure_are_counted_apart(
    attempts: int, infra: int, first: AttemptState
) -> None:
    """However they are mixed, there are ``attempts`` failures of the script or ``infra`` + 1 of the infrastructure."""
    retry = Retry(attempts=attempts, infrastructure=infra)
    other = AttemptState.LOST if first is AttemptState.FAILED else AttemptState.FAILED
    run, ended, sequence = a_run("r"), None, [first, other] * 20
    counts = {AttemptState.FAILED: 0, AttemptState.LOST: 0}
    for state in sequence:
        counts[state] += 1
        decision = transition(run, retry, "", Completion("j", state), 0.0, 0.0)
        run = replace(
            run,
            script_failures=run.script_failures + decision.counts_script,
            infra_failures=run.infra_failures + decision.counts_infra,
        )
        if decision.state is RunState.FAILED:
            ended = state
            break
    if ended is AttemptState.FAILED:
        assert counts[AttemptState.FAILED] == attempts
    else:
        assert counts[AttemptState.LOST] == infra + 1


@given(st.floats(0.1, 60), st.floats(60, 3600), st.integers(0, 1000), st.floats(0, 0.999))
def test_backoff_grows_to_its_limit(first: float, limit: float, failures: int, jitter: float) -> None:
    wait = backoff(first, limit, failures, jitter)
    assert first / 2 <= wait <= limit
    assert backoff(first, limit, failures + 1, jitter) >= wait
