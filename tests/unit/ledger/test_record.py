# SPDX-License-Identifier: Apache-2.0
"""Recording events: durable, each once, and never refused for what is in them."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from parts.ledger_facts import event, ids, queue, recording, store, stored, unmatched

from oscar_fedcloud.domain.events import EventOutcome, Origin, Recording, StorageEvent, event_id
from oscar_fedcloud.domain.runs import RunState, run_id
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable

ODD_KEYS = [
    "in/with space.jpg",
    "in/f+1 %2F&.txt",
    "in/été-猫.jpg",
    "in/new\nline",
    "in/\"quotes\" 'and' $(id) `id`",
    "in/" + b"\xff\xfe latin \xe9".decode("utf-8", "surrogateescape"),
    "in/nul\0byte",
    "x" * 1024,
]


def test_event_and_run_come_back_as_they_went_in(ledger: Ledger) -> None:
    found = event(
        size=7, etag="e1", version_id="v1", time="2026-01-01T00:00:00Z", depth=2, via=Origin.FAST, order=2**62
    )
    assert store(ledger, recording(found)) == [True]
    run = stored(ledger, run_id("grayify", found))
    assert run.event == found
    assert (run.service, run.state, run.attempts, run.finished) == ("grayify", RunState.QUEUED, 0, None)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_key_of_any_bytes(ledger: Ledger, key: str) -> None:
    found = event(key)
    store(ledger, recording(found))
    assert stored(ledger, run_id("grayify", found)).event == found
    assert ids(ledger.runs(bucket="photos", key=key)) == [run_id("grayify", found)]
    assert [trace["event"] for trace in ledger.explain("photos", key)] == [found]
    assert ledger.dead_letters() == []


def test_second_copy_makes_no_second_run_and_no_write(ledger: Ledger) -> None:
    found = event()
    assert store(ledger, recording(found)) == [True]
    writes = ledger.stats()["writes"]
    assert store(ledger, recording(replace(found, via=Origin.FAST))) == [False]
    assert ledger.stats()["writes"] == writes
    assert ledger.stats()["duplicates_memory"] == 1
    assert len(ledger.runs()) == 1


def test_second_copy_after_reopening(url: str) -> None:
    first = Ledger.open(url)
    store(first, recording(event()), unmatched(event("other")))
    first.close()
    second = Ledger.open(url)
    assert store(second, recording(event()), unmatched(event("other"))) == [False, False]
    counted = {name: count for name, count in second.stats().items() if count}
    assert counted == {"duplicates": 2, "batches": 1}
    assert len(second.runs()) == 1
    second.close()


def test_copies_in_one_batch(ledger: Ledger) -> None:
    results = store(ledger, *(recording(event()) for _ in range(20)))
    assert results.count(True) == 1
    assert len(ledger.runs()) == 1


def test_other_content_of_the_same_key_is_another_run(ledger: Ledger) -> None:
    store(ledger, recording(event(revision="r1")), recording(event(revision="r2", order=2)))
    assert len(ledger.runs()) == 2


def test_event_for_several_services(ledger: Ledger) -> None:
    store(ledger, recording(event(), "a", "b", "c"))
    assert sorted(run.service for run in ledger.runs()) == ["a", "b", "c"]


def test_service_that_came_later_gets_its_run(ledger: Ledger) -> None:
    store(ledger, recording(event(), "early"))
    assert store(ledger, recording(event(), "early", "late")) == [True]
    assert store(ledger, recording(event(), "late")) == [False]
    assert sorted(run.service for run in ledger.runs()) == ["early", "late"]


def test_service_that_came_later_to_an_event_nobody_wanted(ledger: Ledger) -> None:
    store(ledger, unmatched(event()))
    assert store(ledger, recording(event(), "late")) == [True]
    assert [run.service for run in ledger.runs()] == ["late"]


def test_baseline_makes_no_run_for_its_service_alone(ledger: Ledger) -> None:
    ledger.record_baseline("old", [event()])
    assert store(ledger, recording(event(), "old")) == [False]
    assert store(ledger, recording(event(), "old", "new")) == [True]
    assert [run.service for run in ledger.runs()] == ["new"]


def test_event_without_service_is_remembered_with_its_reason(ledger: Ledger) -> None:
    found = event()
    assert store(ledger, unmatched(found, EventOutcome.FILTERED, "grayify: suffix")) == [True]
    assert store(ledger, unmatched(found, EventOutcome.FILTERED, "grayify: suffix")) == [False]
    (trace,) = ledger.explain("photos", "in/a.jpg")
    assert (trace["event"], trace["outcome"], trace["detail"]) == (found, EventOutcome.FILTERED, "grayify: suffix")
    assert ledger.runs() == []


async def test_committed_events_are_announced_on_the_event_loop(ledger: Ledger) -> None:
    announced: list[tuple[Recording, int]] = []
    ledger.listener = SimpleNamespace(
        committed=lambda batch: announced.extend((item, threading.get_ident()) for item in batch)
    )  # type: ignore[assignment]
    await asyncio.gather(ledger.record(recording(event("a"))), ledger.record(recording(event("b"))))
    await ledger.record(recording(event("a")))
    assert sorted(item.event.key for item, _ in announced) == ["a", "b"]
    assert {thread for _, thread in announced} == {threading.get_ident()}


async def test_waiter_that_gave_up_does_not_disturb_the_others(ledger: Ledger) -> None:
    given_up = ledger.record_nowait(recording(event("a")))
    waiting = ledger.record_nowait(recording(event("b")))
    given_up.cancel()
    assert await waiting is True
    assert await asyncio.to_thread(ledger.run, run_id("grayify", event("a"))) is not None


async def test_dead_letter_is_kept_whole(ledger: Ledger) -> None:
    body = bytes(range(256)) * 3
    await ledger.record_dead_letter("minio.default/durable", body, "not JSON: \ud800 \0")
    (letter,) = ledger.dead_letters()
    assert (letter.source, letter.body) == ("minio.default/durable", body)
    assert letter.reason == "not JSON: \\ud800 \\x00"
    assert ledger.dead_letter(letter.id) == letter
    assert ledger.drop_dead_letter(letter.id)
    assert not ledger.drop_dead_letter(letter.id)
    assert ledger.dead_letter(letter.id) is None


def test_dead_letters_by_page(ledger: Ledger) -> None:
    async def send() -> None:
        for number in range(5):
            await ledger.record_dead_letter("s", b"%d" % number, "bad")

    asyncio.run(send())
    first = ledger.dead_letters(limit=2)
    assert [letter.body for letter in first] == [b"4", b"3"]
    assert [letter.body for letter in ledger.dead_letters(limit=9, before=first[-1].id)] == [b"2", b"1", b"0"]


BAD_EVENTS = {
    "lone surrogate in key": event("in/\ud800"),
    "lone surrogate in revision": event(revision="\udc80"),
    "lone surrogate in etag": event(etag="\ud800"),
    "order beyond 64 bits": event(order=2**70),
    "size beyond 64 bits": event(size=2**70),
}


@pytest.mark.parametrize("bad", BAD_EVENTS.values(), ids=BAD_EVENTS.keys())
def test_bad_event_becomes_a_dead_letter_and_spoils_no_other(ledger: Ledger, bad: StorageEvent) -> None:
    good = [event(f"good/{number}") for number in range(10)]
    batch = [recording(item) for item in [*good[:5], bad, *good[5:]]]
    assert store(ledger, *batch) == [True] * 11
    assert len(ledger.runs()) == 10
    (letter,) = ledger.dead_letters()
    assert letter.source == "minio.default"
    assert json.loads(letter.body)["event"]["bucket"] == "photos"
    assert "cannot be stored" in letter.reason


def test_text_with_nul_is_stored_or_becomes_a_dead_letter(ledger: Ledger) -> None:
    assert store(ledger, recording(event(etag="a\0b")), recording(event("fine"))) == [True, True]
    assert len(ledger.runs()) + len(ledger.dead_letters()) == 2
    assert stored(ledger, run_id("grayify", event("fine")))


def test_dead_letter_is_not_written_again_for_the_second_copy(ledger: Ledger) -> None:
    bad = recording(event(size=2**70))
    store(ledger, bad)
    assert store(ledger, bad) == [False]
    assert len(ledger.dead_letters()) == 1


def test_many_events_at_once(ledger: Ledger) -> None:
    found = [event(f"in/{number}") for number in range(2500)]
    assert store(ledger, *map(recording, found)) == [True] * 2500
    assert ledger.counts() == {"grayify": {"queued": 2500}}
    assert ledger.stats()["committed"] == 2500
    assert ledger.stats()["batches"] < 2500


def test_known_tells_what_is_recorded_or_seen_by_anyone(ledger: Ledger) -> None:
    found = [event(f"in/{number}") for number in range(1200)]
    store(ledger, *(recording(item) for item in found[:400]), *(unmatched(item) for item in found[400:500]))
    ledger.record_baseline("other", found[500:600])
    assert ledger.known("minio.default", "photos", found) == {event_id(item) for item in found[:600]}
    newer = [replace(item, revision="r2") for item in found]
    assert ledger.known("minio.default", "photos", newer) == set()


def test_known_for_tells_what_needs_no_run_of_a_service(ledger: Ledger) -> None:
    found = [event(f"in/{number}") for number in range(1000)]
    queue(ledger, *found[:300])
    ledger.record_baseline("grayify", found[300:600])
    ledger.record_baseline("other", found[600:])
    store(ledger, *(recording(item, "other") for item in found))
    assert ledger.known_for("grayify", found) == {run_id("grayify", item) for item in found[:600]}


def test_closed_ledger_says_so(url: str) -> None:
    ledger = Ledger.open(url)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        store(ledger, recording(event()))
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.record_baseline("grayify", [event()])


def test_closing_commits_what_is_queued(url: str) -> None:
    ledger = Ledger.open(url)

    async def send_and_close() -> list[bool]:
        waiting = [ledger.record_nowait(recording(event(str(number)))) for number in range(50)]
        await asyncio.to_thread(ledger.close)
        return await asyncio.gather(*waiting)

    assert asyncio.run(send_and_close()) == [True] * 50
    again = Ledger.open(url)
    assert len(again.runs()) == 50
    again.close()


def test_a_record_that_is_too_large_is_a_dead_letter(ledger: Ledger) -> None:
    whole = b'{"x": "' + b"y" * 65_536 + b'"}'
    assert store(ledger, recording(event("large", record=whole)), recording(event("small"))) == [True, True]
    assert [run.event.key for run in ledger.runs()] == ["small"]
    (letter,) = ledger.dead_letters()
    assert "larger than 65536 bytes" in letter.reason


async def test_lists_read_the_beginnings_of_dead_letters(ledger: Ledger) -> None:
    body = b"x" * 1_000_000
    await ledger.record_dead_letter("minio.default/durable", body, "no JSON")
    (letter,) = await asyncio.to_thread(ledger.dead_letters)
    assert (len(letter.body), letter.size) == (4096, 1_000_000)
    whole = await asyncio.to_thread(ledger.dead_letter, letter.id)
    assert whole is not None
    assert whole.body == body
