# SPDX-License-Identifier: Apache-2.0
"""A run names the run that wrote its input, and a chain can be followed both ways."""

from __future__ import annotations

import time

from parts.ledger_facts import begin, event, queue
from sqlalchemy import create_engine, text

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, StoredObject
from oscar_fedcloud.ledger import Ledger, RunTransition
from oscar_fedcloud.ledger.chain import MAX_DEPTH, MAX_RUNS

Wrote = tuple[str, str, int]  # key, eTag and size


def make(ledger: Ledger, found: StorageEvent, *outputs: StoredObject, service: str = "grayify") -> Run:
    """A run of the event that succeeded and wrote these objects."""
    (run,) = queue(ledger, found, service=service)
    (attempt,) = begin(ledger, run)
    done = Completion(attempt.job, AttemptState.SUCCEEDED, 0, outputs=outputs)
    ended = ledger.finish(attempt.job, done, RunTransition(RunState.SUCCEEDED))
    assert ended is not None
    return ended


def thing(key: str, etag: str = "e", size: int | None = 3, bucket: str = "photos") -> StoredObject:
    """An output."""
    return StoredObject("minio.default", bucket, key, size, etag)


def arrival(key: str, etag: str = "e", size: int | None = 3, revision: str = "", ago: float = 0.0) -> StorageEvent:
    """The event of an object that was written some time ago."""
    order = int((time.time() - ago) * 1e9)
    return event(key, revision or f"{order}", order, etag=etag, size=size)


def test_a_run_names_the_run_that_wrote_its_input(ledger: Ledger) -> None:
    first = make(ledger, arrival("a"), thing("b"), thing("c"))
    second = make(ledger, arrival("b"))
    assert ledger.origin(second) == first
    assert ledger.origin(first) is None


def test_other_content_has_no_origin(ledger: Ledger) -> None:
    make(ledger, arrival("a"), thing("b", "e1", 3), thing("c", "", 3), thing("d", "e", None))
    assert ledger.origin(make(ledger, arrival("b", "e2", 3, ago=60))) is None
    assert ledger.origin(make(ledger, arrival("b", "e1", 4))) is None
    assert ledger.origin(make(ledger, arrival("b", "e2", 3, ago=-60))) is None
    assert ledger.origin(make(ledger, arrival("c", "any", 4))) is None
    assert ledger.origin(make(ledger, arrival("c", "any", 3))) is not None
    assert ledger.origin(make(ledger, arrival("d", "e", 9))) is not None
    other = event("b", "r", 1, bucket="elsewhere", etag="e1", size=3)
    assert ledger.origin(make(ledger, other)) is None


def test_an_encrypted_object_is_known_by_its_size_and_time(ledger: Ledger) -> None:
    """Its eTag in the store is not the MD5 that was recorded."""
    first = make(ledger, arrival("a"), thing("b", "0" * 32), thing("c", "0" * 32, None))
    assert ledger.origin(make(ledger, arrival("b", "1" * 32))) == first
    assert ledger.origin(make(ledger, arrival("b", "1" * 32, 4))) is None
    assert ledger.origin(make(ledger, arrival("b", "1" * 32, None))) is None
    assert ledger.origin(make(ledger, arrival("c", "1" * 32))) is None  # no size was recorded
    assert ledger.chain(first.id).links


def test_the_same_etag_counts_more_than_size_and_time(ledger: Ledger) -> None:
    first = make(ledger, arrival("a", revision="1"), thing("b", "e"))
    make(ledger, arrival("a", revision="2"), thing("b", "other"))
    assert ledger.origin(make(ledger, arrival("b", "e"))) == first


def test_of_several_writers_it_is_the_one_of_that_time(ledger: Ledger) -> None:
    """The same content under the same key: the times of the attempts tell."""
    first = make(ledger, arrival("a", revision="1"), thing("b"))
    reads_first = make(ledger, arrival("b", revision="b1"))
    second = make(ledger, arrival("a", revision="2"), thing("b"))
    reads_second = make(ledger, arrival("b", revision="b2"))
    assert ledger.origin(reads_first) == first
    assert ledger.origin(reads_second) == second


def test_content_that_a_person_uploads_again_much_later_has_no_origin(ledger: Ledger, url: str) -> None:
    make(ledger, arrival("a"), thing("b"))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE attempts SET started = started - 90000, finished = finished - 90000"))
    engine.dispose()
    assert ledger.origin(make(ledger, arrival("b"))) is None


def test_a_store_whose_clock_is_wrong(ledger: Ledger) -> None:
    first = make(ledger, arrival("a"), thing("b"))
    assert ledger.origin(make(ledger, arrival("b", ago=400 * 86400.0))) == first


def test_an_event_that_comes_before_the_end_of_the_writer(ledger: Ledger) -> None:
    (writer,) = queue(ledger, arrival("a"))
    (attempt,) = begin(ledger, writer)
    reader = make(ledger, arrival("b"))
    assert ledger.origin(reader) is None
    done = Completion(attempt.job, AttemptState.SUCCEEDED, 0, outputs=(thing("b"),))
    ended = ledger.finish(attempt.job, done, RunTransition(RunState.SUCCEEDED))
    assert ledger.origin(reader) == ended


def test_a_chain_is_followed_both_ways(ledger: Ledger) -> None:
    """a is read by one; it writes b and c; b is read by two services; d follows from b."""
    one = make(ledger, arrival("a"), thing("b"), thing("c"))
    two = make(ledger, arrival("b"), thing("d"))
    beside = make(ledger, arrival("b"), service="other")
    three = make(ledger, arrival("d"))
    make(ledger, arrival("unrelated"), thing("x"))
    chain = ledger.chain(two.id)
    assert [run.id for run in chain.runs] == [one.id, two.id, three.id]
    assert [(link.source, link.target, link.bucket, link.key) for link in chain.links] == [
        (one.id, two.id, "photos", "b"),
        (two.id, three.id, "photos", "d"),
    ]
    assert chain.complete
    whole = ledger.chain(one.id)
    assert {run.id for run in whole.runs} == {one.id, two.id, beside.id, three.id}
    assert {(link.source, link.target) for link in whole.links} == {
        (one.id, two.id),
        (one.id, beside.id),
        (two.id, three.id),
    }
    assert ledger.chain(three.id).runs[0] == one
    assert ledger.chain("no such run").runs == ()


def test_services_that_feed_each_other(ledger: Ledger) -> None:
    """The same content goes round under the same key: the chain is long, it has an end, and no run is in it twice."""
    runs = [make(ledger, arrival("a", revision=str(number)), thing("a")) for number in range(MAX_DEPTH + 10)]
    chain = ledger.chain(runs[0].id)
    assert len(chain.runs) == MAX_DEPTH + 1
    assert not chain.complete
    back = ledger.chain(runs[-1].id)
    assert len({run.id for run in back.runs}) == len(back.runs) == MAX_DEPTH + 1
    assert not back.complete


def test_a_run_that_wrote_its_own_input(ledger: Ledger) -> None:
    run = make(ledger, arrival("a"), thing("a"))
    chain = ledger.chain(run.id)
    assert (chain.runs, chain.links, chain.complete) == ((run,), (), True)


def test_a_wide_chain_is_bounded(ledger: Ledger) -> None:
    keys = [f"part/{number}" for number in range(MAX_RUNS + 20)]
    first = make(ledger, arrival("a"), *(thing(key) for key in keys))
    queue(ledger, *(arrival(key) for key in keys))
    chain = ledger.chain(first.id)
    assert len(chain.runs) == MAX_RUNS
    assert len(chain.links) == MAX_RUNS - 1
    assert not chain.complete
