# SPDX-License-Identifier: Apache-2.0
"""Which runs are due: one at a time for each object, oldest revision first, only the newest worth running."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from parts.ledger_facts import begin, due, end, event, queue, recording, run_to, store, stored
from sqlalchemy import Connection

from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.ledger import queue as waiting
from oscar_fedcloud.ledger.values.rows import AnyRow


def test_oldest_revision_first_up_to_the_limit(ledger: Ledger) -> None:
    queue(ledger, *(event(f"k{number}", f"r{number}", order=100 - number) for number in range(10)))
    assert due(ledger) == [f"r{number}" for number in reversed(range(10))]
    assert due(ledger, limit=3) == ["r9", "r8", "r7"]


def test_older_revision_has_a_newer_one_queued(ledger: Ledger) -> None:
    queue(ledger, event(revision="old", order=1), event(revision="new", order=2))
    assert due(ledger) == ["old<", "new"]


@pytest.mark.parametrize(
    ("state", "newer"),
    [
        (RunState.SUCCEEDED, True),
        (RunState.FAILED, True),
        (RunState.INPUT_GONE, True),
        (RunState.CANCELLED, False),
        (RunState.SUPERSEDED, False),
    ],
)
def test_older_revision_that_arrives_late(ledger: Ledger, state: RunState, newer: bool) -> None:
    (new,) = queue(ledger, event(revision="new", order=2))
    run_to(ledger, new, state)
    queue(ledger, event(revision="old", order=1))
    assert due(ledger) == ["old<" if newer else "old"]


def test_older_revision_is_superseded_while_the_newer_runs(ledger: Ledger) -> None:
    (new,) = queue(ledger, event(revision="new", order=2))
    begin(ledger, new)
    queue(ledger, event(revision="old", order=1))
    assert due(ledger) == ["old<"]


def test_newer_revision_waits_for_the_running_one(ledger: Ledger) -> None:
    (old,) = queue(ledger, event(revision="old", order=1))
    (attempt,) = begin(ledger, old)
    queue(ledger, event(revision="new", order=2))
    assert due(ledger) == []
    end(ledger, attempt)
    assert due(ledger) == ["new"]


def test_a_run_that_is_cancelled_while_the_queue_is_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, _ = queue(ledger, event("a", "gone"), event("b", "stays"))
    rivals = waiting._rivals

    def after_the_page(connection: Connection, page: Iterable[AnyRow]) -> Iterable[AnyRow]:
        ledger.cancel_queued(gone.id)
        return rivals(connection, page)

    monkeypatch.setattr(waiting, "_rivals", after_the_page)
    assert due(ledger) == ["stays"]


def test_many_revisions_of_one_key(ledger: Ledger) -> None:
    queue(ledger, *(event(revision=f"r{number}", order=number) for number in range(250)), event("other", "free", 999))
    assert due(ledger, limit=400) == [*(f"r{number}<" for number in range(249)), "r249", "free"]
    assert due(ledger, limit=10) == [f"r{number}<" for number in range(10)]


def test_runs_that_wait_do_not_use_up_the_limit(ledger: Ledger) -> None:
    first = queue(ledger, *(event(f"k{number}", "old", order=1) for number in range(150)))
    begin(ledger, *first)
    queue(ledger, *(event(f"k{number}", "waits", order=2) for number in range(150)), event("other", "free", order=3))
    assert due(ledger, limit=1) == ["free"]


def test_failed_attempt_gives_way_to_a_newer_revision(ledger: Ledger) -> None:
    (old,) = queue(ledger, event(revision="old", order=1))
    run_to(ledger, old, RunState.QUEUED, not_before=time.time() + 1000)
    queue(ledger, event(revision="new", order=2))
    assert due(ledger) == ["new"]
    assert due(ledger, now=time.time() + 2000) == ["old<", "new"]


def test_same_order_is_still_an_order(ledger: Ledger) -> None:
    queue(ledger, event(revision="r1", order=5), event(revision="r2", order=5), event(revision="r3", order=5))
    assert sorted(item.endswith("<") for item in due(ledger)) == [False, True, True]


def test_objects_differ_by_service_provider_bucket_and_key(ledger: Ledger) -> None:
    queue(ledger, event(revision="1", order=1))
    queue(ledger, event(revision="2", order=2), service="other")
    queue(ledger, event(revision="3", order=3, bucket="else"), event(key="in/b.jpg", revision="4", order=4))
    assert due(ledger) == ["1", "3", "4"]
    assert due(ledger, "other") == ["2"]


def test_replay_of_an_old_revision_is_not_superseded_and_goes_first(ledger: Ledger) -> None:
    old, new = queue(ledger, event(revision="old", order=1), event(revision="new", order=2))
    ledger.begin([], [old.id], 1.0)
    run_to(ledger, new)
    ledger.retry(old.id, 1.0)
    ledger.replay(new.id, 1.0)
    assert due(ledger) == ["old"]
    run_to(ledger, stored(ledger, old.id))
    assert due(ledger) == ["new"]


def test_newer_revision_waits_for_a_replay_that_is_due(ledger: Ledger) -> None:
    (old,) = queue(ledger, event(revision="old", order=1))
    run_to(ledger, old)
    ledger.replay(old.id, 1.0)
    queue(ledger, event(revision="new", order=2))
    assert due(ledger) == ["old"]
    run_to(ledger, stored(ledger, old.id), RunState.QUEUED, not_before=time.time() + 1000)
    assert due(ledger) == ["new"]


def test_waiting_services_and_their_first_moment(ledger: Ledger) -> None:
    store(ledger, recording(event("a"), "now"), recording(event("b"), "later"), recording(event("c"), "later"))
    for candidate in ledger.due("later", time.time(), 10):
        run_to(ledger, candidate.run, RunState.QUEUED, not_before=2000.0 + candidate.run.event.order)
    store(ledger, recording(event("d"), "done"))
    run_to(ledger, ledger.due("done", time.time(), 1)[0].run)
    assert ledger.services_waiting() == {"now": 0.0, "later": 2001.0}


def test_next_moment_that_is_not_yet_due(ledger: Ledger) -> None:
    runs = queue(ledger, event("a"), event("b"), event("c"))
    assert ledger.next_due("grayify", 0.0) is None
    for run, moment in zip(runs, (3000.0, 1000.0, 2000.0), strict=True):
        run_to(ledger, run, RunState.QUEUED, not_before=moment)
    assert ledger.next_due("grayify", 500.0) == 1000.0
    assert ledger.next_due("grayify", 1000.0) == 2000.0
    assert ledger.next_due("grayify", 3000.0) is None
    assert ledger.next_due("other", 500.0) is None


def doubtful(ledger: Ledger) -> dict[str, bool]:
    """Each revision that has a newer one -> whether that is doubtful."""
    found = ledger.due("grayify", time.time(), 100)
    return {item.run.event.revision: item.doubtful for item in found if item.newer}


def test_what_is_newer_and_came_later_is_beyond_doubt(ledger: Ledger) -> None:
    queue(ledger, event(revision="old", order=1), event(revision="new", order=2))
    assert doubtful(ledger) == {"old": False}


def test_what_is_newer_and_came_before_is_doubtful(ledger: Ledger) -> None:
    (new,) = queue(ledger, event(revision="new", order=2))
    run_to(ledger, new)
    queue(ledger, event(revision="late", order=1))
    assert doubtful(ledger) == {"late": True}


def test_what_is_of_the_future_is_doubtful(ledger: Ledger) -> None:
    soon, later = int((time.time() + 250) * 1e9), int((time.time() + 400) * 1e9)
    queue(ledger, event("a", "a-old", order=1), event("a", "a-new", order=soon))
    queue(ledger, event("b", "b-old", order=1), event("b", "b-new", order=later))
    assert doubtful(ledger) == {"a-old": False, "b-old": True}


def test_a_run_behind_a_wrong_order_supersedes_it(ledger: Ledger) -> None:
    wrong, right = queue(ledger, event(revision="wrong", order=2**62), event(revision="right", order=7))
    assert doubtful(ledger) == {"right": True}
    assert ledger.reorder(right.id, 2**62 + 1)
    assert due(ledger) == ["wrong<", "right"]
    begin(ledger, right)
    assert not ledger.reorder(right.id, 2**62 + 9)
    assert stored(ledger, right.id).event.order == 2**62 + 1
    assert stored(ledger, wrong.id).state is RunState.QUEUED
