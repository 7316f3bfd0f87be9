# SPDX-License-Identifier: Apache-2.0
"""Looking back, and forgetting: lists, counts, explanations, retention, baselines."""

from __future__ import annotations

import time

import pytest
from parts.ledger_facts import begin, event, ids, queue, recording, run_to, store, stored, unmatched

from oscar_fedcloud.domain.events import EventOutcome, event_id
from oscar_fedcloud.domain.runs import RunState, run_id
from oscar_fedcloud.ledger import Ledger, cursor_of


def test_runs_newest_first_by_page(ledger: Ledger) -> None:
    for start in range(0, 30, 10):
        queue(ledger, *(event(f"k{number}") for number in range(start, start + 10)))
    everything = ids(ledger.runs(limit=100))
    assert len(set(everything)) == 30
    assert {run.event.key for run in ledger.runs(limit=10)} == {f"k{number}" for number in range(20, 30)}
    pages, cursor = [], None
    while page := ledger.runs(before=cursor, limit=7):
        pages += ids(page)
        cursor = cursor_of(page[-1])
    assert pages == everything


def test_pages_go_on_when_runs_come_and_go(ledger: Ledger) -> None:
    for number in range(20):
        queue(ledger, event(f"k{number}"))
    page = ledger.runs(limit=5)
    for run in page:
        run_to(ledger, run)
        ledger.delete_run(run.id)
    queue(ledger, event("newer"))
    rest = ledger.runs(before=cursor_of(page[-1]), limit=100)
    assert [run.event.key for run in rest] == [f"k{number}" for number in reversed(range(15))]


def test_bad_cursor(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        ledger.runs(before="nonsense")


def test_runs_by_what_they_are(ledger: Ledger) -> None:
    store(ledger, recording(event("a"), "one", "two"), recording(event("b", bucket="else"), "one"))
    run_to(ledger, stored(ledger, run_id("two", event("a"))), RunState.FAILED)

    def found(**conditions: object) -> list[tuple[str, str]]:
        return sorted((run.service, run.event.key) for run in ledger.runs(**conditions))  # type: ignore[arg-type]

    assert found(service="one") == [("one", "a"), ("one", "b")]
    assert found(service="two", states=[RunState.FAILED]) == [("two", "a")]
    assert found(states=[RunState.QUEUED]) == [("one", "a"), ("one", "b")]
    assert found(states=[RunState.QUEUED, RunState.FAILED]) == [("one", "a"), ("one", "b"), ("two", "a")]
    assert found(states=[]) == []
    assert found(bucket="else") == [("one", "b")]
    assert found(bucket="photos", key="a") == [("one", "a"), ("two", "a")]
    assert found(bucket="photos", key="b") == []
    assert found(key="b") == [("one", "b")]


def test_runs_since(ledger: Ledger) -> None:
    queue(ledger, event("early"))
    moment = time.time()
    assert ledger.runs(since=moment) == []
    queue(ledger, event("late"))
    assert [run.event.key for run in ledger.runs(since=moment)] == ["late"]
    assert len(ledger.runs(since=0.0)) == 2


def test_counts(ledger: Ledger) -> None:
    assert ledger.counts() == {}
    runs = queue(ledger, *(event(f"k{number}") for number in range(5)))
    queue(ledger, event("k0"), service="other")
    begin(ledger, runs[0])
    run_to(ledger, runs[1])
    assert ledger.counts() == {"grayify": {"queued": 3, "running": 1, "succeeded": 1}, "other": {"queued": 1}}
    assert ledger.counts("other") == {"other": {"queued": 1}}
    assert ledger.counts("nobody") == {}


def test_explain_tells_all_of_a_key(ledger: Ledger) -> None:
    old, new = event(revision="old", order=1), event(revision="new", order=2)
    ledger.record_baseline("late", [old])
    store(ledger, recording(old, "one", "two"), unmatched(new, EventOutcome.FILTERED, "one: suffix"))
    store(ledger, recording(event("in/b.jpg"), "one"))
    first, second = ledger.explain("photos", "in/a.jpg")
    assert (first["event_id"], first["event"], first["outcome"]) == (event_id(new), new, EventOutcome.FILTERED)
    assert (first["detail"], first["runs"], first["seen"]) == ("one: suffix", [], [])
    assert (second["event"], second["outcome"]) == (old, EventOutcome.MATCHED)
    assert sorted(run.service for run in second["runs"]) == ["one", "two"]
    assert second["seen"] == ["late"]


def test_explain_of_a_baseline_alone_and_of_nothing(ledger: Ledger) -> None:
    ledger.record_baseline("grayify", [event()])
    (trace,) = ledger.explain("photos", "in/a.jpg")
    assert (trace["event_id"], trace["event"], trace["seen"]) == (event_id(event()), None, ["grayify"])
    assert ledger.explain("photos", "in/b.jpg") == []


def test_prune_removes_old_ends_and_keeps_their_identity(ledger: Ledger) -> None:
    ended, running, queued = queue(ledger, event("ended"), event("running"), event("queued"))
    run_to(ledger, ended, callback="http://x/")
    begin(ledger, running)
    store(ledger, unmatched(event("ignored")))
    assert ledger.prune(time.time() - 3600) == 0
    assert ledger.prune(time.time() + 1) == 1
    assert sorted(ids(ledger.runs())) == sorted([running.id, queued.id])
    assert ledger.attempts(ended.id) == []
    assert ledger.callbacks_due(time.time() + 1, 10) == []
    assert ledger.explain("photos", "ignored") == []
    assert ledger.known_for("grayify", [event("ended")]) == {ended.id}


def test_pruned_event_never_runs_again(url: str) -> None:
    first = Ledger.open(url)
    run_to(first, queue(first, event())[0])
    first.prune(time.time() + 1)
    first.close()
    second = Ledger.open(url)  # with nothing in memory
    assert store(second, recording(event())) == [False]
    assert second.runs() == []
    second.close()


def test_prune_of_more_than_one_transaction_takes(ledger: Ledger) -> None:
    runs = queue(ledger, *(event(str(number)) for number in range(1100)))
    ledger.begin([], ids(runs), 1.0)
    assert ledger.prune(2.0) == 1100
    assert ledger.counts() == {}
    assert len(ledger.known_for("grayify", [event(str(number)) for number in range(1100)])) == 1100


def test_deleting_runs(ledger: Ledger) -> None:
    failed, done, queued = queue(ledger, event("a"), event("b"), event("c"))
    run_to(ledger, failed, RunState.FAILED)
    run_to(ledger, done)
    assert not ledger.delete_run(queued.id)
    assert ledger.delete_runs("grayify", [RunState.FAILED, RunState.QUEUED]) == 1
    assert ledger.delete_runs("other") == 0
    assert ledger.delete_run(done.id)
    assert not ledger.delete_run(done.id)
    assert ids(ledger.runs()) == [queued.id]
    assert store(ledger, recording(event("a")), recording(event("b"))) == [False, False]


def test_record_baseline_counts_what_is_new(ledger: Ledger) -> None:
    found = [event(str(number)) for number in range(3000)]
    assert ledger.record_baseline("grayify", iter(found[:2000])) == 2000
    assert ledger.record_baseline("grayify", found) == 1000
    assert ledger.record_baseline("other", found[:1]) == 1
    writes = ledger.stats()["writes"]
    assert ledger.record_baseline("grayify", found) == 0
    assert ledger.stats()["writes"] == writes


def test_prune_baseline_drops_what_is_gone_and_nothing_else(ledger: Ledger) -> None:
    found = [event(f"in/{number}") for number in range(1200)]
    outside = [event("out/a"), event("in/a", bucket="else")]
    ledger.record_baseline("grayify", [*found, *outside])
    ledger.record_baseline("other", found)
    listed = {event_id(item) for item in found[:1000]}
    assert ledger.prune_baseline("grayify", "minio.default", "photos", listed, time.time() + 1, "in/") == 200
    assert ledger.prune_baseline("grayify", "minio.default", "photos", listed, time.time() + 1, "in/") == 0
    assert ledger.known_for("grayify", [*found, *outside]) == {
        run_id("grayify", item) for item in [*found[:1000], *outside]
    }
    assert len(ledger.known_for("other", found)) == 1200


def test_prune_baseline_keeps_what_came_after_the_listing_began(ledger: Ledger) -> None:
    began = time.time()
    run_to(ledger, queue(ledger, event())[0])
    ledger.delete_runs("grayify")
    assert ledger.prune_baseline("grayify", "minio.default", "photos", set(), began) == 0
    assert store(ledger, recording(event())) == [False]


def test_revision_that_was_gone_and_comes_back_runs(ledger: Ledger) -> None:
    run_to(ledger, queue(ledger, event())[0])
    ledger.delete_runs("grayify")
    assert ledger.prune_baseline("grayify", "minio.default", "photos", set(), time.time() + 1) == 1
    assert store(ledger, recording(event())) == [True]
