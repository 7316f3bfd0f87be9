# SPDX-License-Identifier: Apache-2.0
"""The life of a run: begin, end, cancel, retry, replay, and the messages about its end."""

from __future__ import annotations

import time

import pytest
from parts.ledger_facts import begin, end, event, ids, queue, run_to, stored

from oscar_fedcloud.domain.events import Origin
from oscar_fedcloud.domain.runs import AttemptState, Completion, RunState, job_name
from oscar_fedcloud.ledger import ENDED, Ledger, RunTransition, StateError, allowed


def test_begin_starts_queued_runs_once(ledger: Ledger) -> None:
    first, second = queue(ledger, event("a"), event("b"))
    begun = ledger.begin([(first.id, "job-1"), (second.id, "job-2")], [], 50.0)
    assert [(run.id, run.state, run.attempts) for run, _ in begun] == [
        (first.id, RunState.RUNNING, 1),
        (second.id, RunState.RUNNING, 1),
    ]
    assert [(attempt.job, attempt.number, attempt.state, attempt.started) for _, attempt in begun] == [
        ("job-1", 1, AttemptState.STARTING, 50.0),
        ("job-2", 1, AttemptState.STARTING, 50.0),
    ]
    assert ledger.begin([(first.id, "job-3")], [], 51.0) == []
    assert ledger.attempts(first.id) == [begun[0][1]]
    assert {run.id: (run, attempt) for run, attempt in ledger.running()} == {run.id: (run, a) for run, a in begun}


def test_begin_supersedes_in_the_same_transaction(ledger: Ledger) -> None:
    old, new = queue(ledger, event(revision="r1"), event(revision="r2", order=2))
    assert [run.id for run, _ in ledger.begin([(new.id, "job")], [old.id], 60.0)] == [new.id]
    superseded = stored(ledger, old.id)
    assert (superseded.state, superseded.finished, superseded.attempts) == (RunState.SUPERSEDED, 60.0, 0)


def test_begin_leaves_alone_what_is_no_longer_queued(ledger: Ledger) -> None:
    cancelled, running = queue(ledger, event("a"), event("b"))
    ledger.cancel_queued(cancelled.id)
    begin(ledger, running)
    assert ledger.begin([(cancelled.id, "x"), ("no such run", "y")], [running.id, cancelled.id], 1.0) == []
    assert stored(ledger, cancelled.id).state is RunState.CANCELLED
    assert stored(ledger, running.id).state is RunState.RUNNING


def test_finish_records_the_attempt_and_the_run(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    completion = Completion(attempt.job, AttemptState.OOM, 137, "killed at 256 MiB", 77.0, {"memory": "cgroup"})
    ended = ledger.finish(
        attempt.job, completion, RunTransition(RunState.FAILED, "no attempt left", counts_script=True)
    )
    assert ended == stored(ledger, run.id)
    assert (ended.state, ended.reason, ended.finished) == (RunState.FAILED, "no attempt left", 77.0)
    assert (ended.script_failures, ended.infra_failures) == (1, 0)
    found = ledger.attempt_by_job(attempt.job)
    assert found is not None
    assert found[0] == ended
    assert (found[1].state, found[1].exit_code, found[1].reason) == (AttemptState.OOM, 137, "killed at 256 MiB")
    assert (found[1].finished, found[1].limits) == (77.0, {"memory": "cgroup"})
    assert ledger.running() == []


def test_finish_is_idempotent(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    assert end(ledger, attempt) is not None
    assert end(ledger, attempt, RunState.FAILED, callback="http://x/") is None
    assert stored(ledger, run.id).state is RunState.SUCCEEDED
    assert ledger.callbacks_due(time.time() + 1, 10) == []
    assert (
        ledger.finish("no-such-job", Completion("no-such-job", AttemptState.LOST), RunTransition(RunState.FAILED))
        is None
    )


def test_late_end_of_an_earlier_attempt_does_not_touch_the_next(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (first,) = begin(ledger, run)
    end(ledger, first, RunState.QUEUED)
    begin(ledger, stored(ledger, run.id))
    assert end(ledger, first) is None
    assert stored(ledger, run.id).state is RunState.RUNNING


def test_failed_attempt_waits_and_counts(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    again = run_to(ledger, run, RunState.QUEUED, not_before=1000.0, counts_infra=True, reason="node lost")
    assert (again.state, again.not_before, again.infra_failures, again.finished) == (RunState.QUEUED, 1000.0, 1, None)
    assert ledger.due("grayify", 999.0, 10) == []
    assert [item.run.id for item in ledger.due("grayify", 1000.0, 10)] == [run.id]
    (attempt,) = begin(ledger, again)
    assert (attempt.number, attempt.job) == (2, job_name("grayify", run.id, 2))
    assert [item.number for item in ledger.attempts(run.id)] == [1, 2]


def test_reason_of_any_text_is_kept(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    odd = "exit \udcff \0"
    ledger.finish(
        attempt.job, Completion(attempt.job, AttemptState.FAILED, 1, odd), RunTransition(RunState.FAILED, odd)
    )
    assert stored(ledger, run.id).reason == "exit \\udcff \\x00"


def test_finish_refuses_a_state_that_no_running_run_can_reach(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    (attempt,) = begin(ledger, run)
    with pytest.raises(StateError, match="'running'"):
        end(ledger, attempt, RunState.RUNNING)
    assert stored(ledger, run.id).state is RunState.RUNNING
    assert end(ledger, attempt) is not None


def test_cancel_only_while_queued(ledger: Ledger) -> None:
    queued, running = queue(ledger, event("a"), event("b"))
    begin(ledger, running)
    assert ledger.cancel_queued(queued.id)
    assert not ledger.cancel_queued(queued.id)
    assert not ledger.cancel_queued(running.id)
    assert not ledger.cancel_queued("no such run")
    assert stored(ledger, queued.id).state is RunState.CANCELLED
    assert stored(ledger, queued.id).finished is not None


@pytest.mark.parametrize("state", sorted(ENDED - {RunState.SUCCEEDED}))
def test_retry_after_any_end_but_success(ledger: Ledger, state: RunState) -> None:
    (run,) = queue(ledger, event())
    run_to(ledger, run, state, reason="why", counts_script=True, counts_infra=True)
    again = ledger.retry(run.id, 500.0)
    assert (again.state, again.reason, again.not_before, again.finished) == (RunState.QUEUED, "", 500.0, None)
    assert (again.attempts, again.script_failures, again.infra_failures) == (1, 0, 0)
    assert again.event.via is Origin.DURABLE
    (attempt,) = begin(ledger, again)
    assert attempt.number == 2


@pytest.mark.parametrize("state", sorted(ENDED))
def test_replay_after_any_end(ledger: Ledger, state: RunState) -> None:
    (run,) = queue(ledger, event())
    run_to(ledger, run, state)
    again = ledger.replay(run.id, 500.0)
    assert (again.state, again.event.via) == (RunState.QUEUED, Origin.REPLAY)
    assert run_to(ledger, again).attempts == 2


def test_retry_and_replay_refuse_other_states(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    with pytest.raises(StateError, match="is queued: no retry is possible"):
        ledger.retry(run.id, 1.0)
    (attempt,) = begin(ledger, run)
    with pytest.raises(StateError, match="is running: no replay is possible"):
        ledger.replay(run.id, 1.0)
    end(ledger, attempt)
    with pytest.raises(StateError, match="is succeeded: no retry is possible"):
        ledger.retry(run.id, 1.0)
    with pytest.raises(StateError, match="there is no run 'nothing'"):
        ledger.retry("nothing", 1.0)
    assert stored(ledger, run.id).state is RunState.SUCCEEDED


def test_callback_is_written_with_the_end_and_delivered_once(ledger: Ledger) -> None:
    (run,) = queue(ledger, event())
    run_to(ledger, run, RunState.FAILED, reason="exit 3", callback="https://example.org/done")
    ledger.retry(run.id, 1.0)
    (message,) = ledger.callbacks_due(time.time() + 1, 10)
    assert (message.url, message.tries) == ("https://example.org/done", 0)
    assert (message.run.id, message.run.state, message.run.reason) == (run.id, RunState.FAILED, "exit 3")
    assert message.run.finished is not None
    ledger.callback_retry(message.id, time.time() + 100)
    assert ledger.callbacks_due(time.time() + 99, 10) == []
    (later,) = ledger.callbacks_due(time.time() + 101, 10)
    assert (later.id, later.tries) == (message.id, 1)
    assert ledger.callback_done(message.id)
    assert not ledger.callback_done(message.id)
    assert ledger.callbacks_due(time.time() + 1000, 10) == []


def test_nothing_is_found_under_wrong_names(ledger: Ledger) -> None:
    assert ledger.run("no such run") is None
    assert ledger.attempts("no such run") == []
    assert ledger.attempt_by_job("no-such-job") is None


def test_running_lists_all_for_adoption(url: str) -> None:
    first = Ledger.open(url)
    runs = queue(first, *(event(str(number)) for number in range(5)))
    begin(first, *runs[:3])
    first.close()
    second = Ledger.open(url)
    found = second.running()
    assert {run.id for run, _ in found} == set(ids(runs[:3]))
    assert all(attempt.job == job_name("grayify", run.id, 1) for run, attempt in found)
    second.close()


@pytest.mark.parametrize("before", RunState)
@pytest.mark.parametrize("after", RunState)
def test_state_machine(before: RunState, after: RunState) -> None:
    if before is RunState.QUEUED:
        expected = after in {RunState.RUNNING, RunState.SUPERSEDED, RunState.CANCELLED}
    elif before is RunState.RUNNING:
        expected = after is not RunState.RUNNING
    else:
        expected = after is RunState.QUEUED
    assert allowed(before, after) is expected
