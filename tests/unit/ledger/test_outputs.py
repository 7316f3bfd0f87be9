# SPDX-License-Identifier: Apache-2.0
"""What attempts wrote is recorded with their end, told by page, and removed with their run."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts.ledger_facts import begin, event, queue, run_to, stored
from sqlalchemy import create_engine, text

from oscar_fedcloud.domain.runs import Attempt, AttemptState, Completion, Run, RunState, StoredObject
from oscar_fedcloud.ledger import Ledger, RunTransition

ODD_KEYS = ["a b+c.txt", "ünï/cödé ☃", "new\nline", b"not \xff utf-8".decode("utf-8", "surrogateescape"), "nul\0"]


def written(*keys: str) -> tuple[StoredObject, ...]:
    """Objects as a runner reports them."""
    return tuple(StoredObject("minio.default", "results", key, len(key), f"etag-{key[:3]}") for key in keys)


def finish(ledger: Ledger, attempt: Attempt, state: RunState = RunState.SUCCEEDED, **more: object) -> Run | None:
    """End an attempt with what it wrote."""
    completion = replace(Completion(attempt.job, AttemptState.SUCCEEDED, 0), **more)  # type: ignore[arg-type]
    return ledger.finish(attempt.job, completion, RunTransition(state))


def test_outputs_are_recorded_with_the_end(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    outputs = written(*ODD_KEYS) + (StoredObject("s3.other", "b", "k"),)
    assert ledger.outputs(run.id) == []
    finish(ledger, attempt, outputs=outputs, outputs_total=12_345, summary="42 cells")
    assert ledger.outputs(run.id) == list(outputs)
    assert ledger.outputs(run.id, 1) == list(outputs)
    (ended,) = ledger.attempts(run.id)
    assert (ended.outputs_total, ended.summary) == (12_345, "42 cells")
    assert ledger.outputs("no such run") == []


def test_outputs_come_in_pages(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    outputs = written(*(f"out/{number:02}" for number in range(25)))
    finish(ledger, attempt, outputs=outputs)
    pages = [ledger.outputs(run.id, None, after, 10) for after in (0, 10, 20, 30)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [item for page in pages for item in page] == list(outputs)
    assert ledger.attempts(run.id)[0].outputs_total == 25


def test_each_attempt_has_its_own(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (first,) = begin(ledger, run)
    finish(ledger, first, RunState.QUEUED, outputs=written("partial"))
    (second,) = begin(ledger, stored(ledger, run.id))
    assert ledger.outputs(run.id) == []
    finish(ledger, second, outputs=written("whole"))
    assert ledger.outputs(run.id, 1) == list(written("partial"))
    assert ledger.outputs(run.id) == ledger.outputs(run.id, 2) == list(written("whole"))


def test_what_the_attempts_before_wrote_is_told_as_last_written(ledger: Ledger) -> None:
    run, other = queue(ledger, event("a"), event("b"))
    finish(ledger, *begin(ledger, other), outputs=written("of another run"))
    changed = replace(written("twice")[0], etag="newer")
    for outputs in (written("twice", "once"), (), (changed,)):
        (attempt,) = begin(ledger, stored(ledger, run.id))
        finish(ledger, attempt, RunState.QUEUED, outputs=outputs)
    assert ledger.written(run.id, 1) == []
    assert ledger.written(run.id, 3) == list(written("twice", "once"))
    assert ledger.written(run.id, 4) == [changed, *written("once")]
    assert ledger.written("no such run", 4) == []


def test_the_end_that_comes_second_records_nothing(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    finish(ledger, attempt, outputs=written("a"))
    assert finish(ledger, attempt, outputs=written("b")) is None
    assert ledger.outputs(run.id) == list(written("a"))


def test_very_many_are_counted_but_not_all_kept(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    finish(ledger, attempt, outputs=written(*map(str, range(10_007))))
    assert len(ledger.outputs(run.id, limit=20_000)) == 10_000
    assert ledger.attempts(run.id)[0].outputs_total == 10_007


def test_outputs_go_with_their_run(ledger: Ledger, url: str) -> None:
    pruned, deleted, kept = queue(ledger, event("a"), event("b"), event("c"))
    for run in (pruned, deleted, kept):
        (attempt,) = begin(ledger, run)
        finish(ledger, attempt, outputs=written("x", "y"), finished=100.0 if run is pruned else time.time())
    assert ledger.prune(1000.0) == 1
    assert ledger.delete_run(deleted.id)
    assert ledger.outputs(kept.id) == list(written("x", "y"))
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM outputs")).scalar() == 2
    engine.dispose()


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, float("nan"), float("inf"), -1]),
    st.just(5000).map(lambda digits: 10**digits),  # Python refuses to show it
    st.sampled_from(["\ud800", "\udcff", "\0", "x" * 100_000]),
)
OUTPUTS = st.lists(st.builds(StoredObject, *[st.text()] * 3, ANYTHING, ANYTHING), max_size=3).map(tuple)
RESULTS = st.fixed_dictionaries(
    {
        "exit_code": ANYTHING,
        "reason": ANYTHING,
        "finished": ANYTHING,
        "limits": st.dictionaries(ANYTHING, ANYTHING, max_size=3),
        "outputs": OUTPUTS,
        "outputs_total": ANYTHING,
        "summary": ANYTHING,
    }
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(result=RESULTS, not_before=ANYTHING)
def test_no_result_can_break_an_end(ledger: Ledger, result: dict[str, object], not_before: float) -> None:
    (run,) = queue(ledger, event(f"in/{time.time_ns()}"))
    (attempt,) = begin(ledger, run)
    completion = replace(Completion(attempt.job, AttemptState.FAILED), **result)  # type: ignore[arg-type]
    assert (
        ledger.finish(attempt.job, completion, RunTransition(RunState.FAILED, completion.reason, not_before))
        is not None
    )
    assert stored(ledger, run.id).state is RunState.FAILED
    (ended,) = ledger.attempts(run.id)
    assert ended.exit_code is None or -(2**31) < ended.exit_code < 2**31
    assert len(ended.reason) <= 2000
    assert len(ended.summary) <= 80
    assert all(item.key for item in ledger.outputs(run.id))


@pytest.mark.parametrize("code", [99999999999999999999, 2**31, -(2**31) - 1, float("nan"), "3", True])
def test_an_exit_code_that_can_be_none_is_left_out(ledger: Ledger, code: int) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    ended = ledger.finish(
        attempt.job, Completion(attempt.job, AttemptState.FAILED, code), RunTransition(RunState.FAILED)
    )
    assert ended is not None
    assert ledger.attempts(run.id)[0].exit_code is None


def test_the_record_of_a_run_without_outputs_is_no_more_than_its_rows(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    before = ledger.stats()["writes"]
    run_to(ledger, run)
    assert ledger.stats()["writes"] == before + 2  # begin and finish
