# SPDX-License-Identifier: Apache-2.0
"""Polling finds each revision of each object once, when it has settled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.polling import MissingBuckets, make_poller
from parts.waiting import eventually_here

from oscar_fedcloud.domain.events import Origin, StorageEvent, event_id
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.sources.poll import Watch
from oscar_fedcloud.storage.errors import BucketMissing, StoreError, UnusableRows

WHERE = Prefix("bucket", "in/")


def row(key: str, revision: str = "1", depth: int = 0) -> StorageEvent:
    return StorageEvent("s3.site", "bucket", f"in/{key}", revision, 1, depth=depth, via=Origin.LISTING)


@dataclass
class Store:
    """A store that holds what a test puts in ``objects`` (key -> revision)."""

    objects: dict[str, str] = field(default_factory=dict)
    id: str = "s3.site"
    settle: int = 1
    failing: bool = False
    unreadable: set[str] = field(default_factory=set)
    listings: int = 0
    stats: list[str] = field(default_factory=list)
    growing: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    bad_row: bool = False
    away: bool = False

    def settled(self, event: StorageEvent) -> bool:
        return event.key.removeprefix("in/") not in self.growing

    def health(self) -> dict[str, object]:
        return {"ok": not self.away, "detail": ""}

    def list(self, where: Prefix) -> Iterator[StorageEvent]:
        self.listings += 1
        if self.failing:
            raise StoreError("away")
        yield from [row(key, revision) for key, revision in self.objects.items()]
        if self.bad_row:
            raise UnusableRows("bucket", 1, {"in/odd": "its time is odd"})

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        name = key.removeprefix("in/")
        self.stats.append(name)
        if name in self.broken:
            raise StoreError("garbage")
        if name in self.unreadable or name not in self.objects:
            return None
        return row(name, self.objects[name], depth=2)


@dataclass
class Sink:
    """Ledger and intake in one."""

    known_ids: set[str] = field(default_factory=set)
    events: list[StorageEvent] = field(default_factory=list)
    failing: bool = False
    asked: list[str] = field(default_factory=list)

    def known(self, provider: str, bucket: str, events: Sequence[StorageEvent]) -> set[str]:
        self.asked += [event.key for event in events]
        return {event_id(event) for event in events} & self.known_ids

    async def record(self, events: list[StorageEvent]) -> None:
        if self.failing:
            raise LedgerUnavailable("away")
        self.events += events

    @property
    def found(self) -> list[tuple[str, str]]:
        return [(event.key.removeprefix("in/"), event.revision) for event in self.events]


async def poll(store: Store, sink: Sink, watch: Watch, times: int = 1) -> None:
    poller = make_poller(store, sink)
    for _ in range(times):
        await poller.poll(watch)


async def test_new_objects_are_handed_on_once_with_their_depth() -> None:
    store, sink, watch = Store({"a": "1", "b": "1"}), Sink(), Watch(WHERE)
    await poll(store, sink, watch, times=3)
    assert sink.found == [("a", "1"), ("b", "1")]
    assert {(event.via, event.depth) for event in sink.events} == {(Origin.POLL, 2)}
    assert store.stats == ["a", "b"]


async def test_a_new_revision_is_handed_on_again() -> None:
    store, sink, watch = Store({"a": "1"}), Sink(), Watch(WHERE)
    await poll(store, sink, watch)
    store.objects["a"] = "2"
    await poll(store, sink, watch, times=2)
    assert sink.found == [("a", "1"), ("a", "2")]


async def test_what_the_ledger_knows_is_not_handed_on_nor_looked_up() -> None:
    store, sink, watch = Store({"old": "1", "new": "1"}), Sink({event_id(row("old"))}), Watch(WHERE)
    await poll(store, sink, watch, times=3)
    assert sink.found == [("new", "1")]
    assert store.stats == ["new"]
    assert sink.asked == ["in/old", "in/new"]


async def test_where_files_grow_two_listings_must_agree() -> None:
    store, sink, watch = Store({"a": "growing"}, settle=2), Sink(), Watch(WHERE)
    await poll(store, sink, watch)
    assert sink.found == []
    store.objects["a"] = "grown"
    await poll(store, sink, watch)
    assert sink.found == []
    await poll(store, sink, watch, times=2)
    assert sink.found == [("a", "grown")]


async def test_an_object_that_changes_while_it_is_looked_up_waits() -> None:
    store, sink, watch = Store({"a": "1"}), Sink(), Watch(WHERE)
    original = store.list
    store.list = lambda where: [replace(event, revision="older") for event in original(where)]
    await poll(store, sink, watch)
    assert sink.found == []
    store.list = original
    await poll(store, sink, watch)
    assert sink.found == [("a", "1")]


async def test_an_object_that_is_gone_and_comes_again_is_asked_of_the_ledger_again() -> None:
    store, sink, watch = Store({"a": "1"}), Sink(), Watch(WHERE)
    await poll(store, sink, watch)
    del store.objects["a"]
    await poll(store, sink, watch)
    assert watch.done == {}
    store.objects["a"] = "1"
    sink.known_ids = {event_id(row("a"))}
    await poll(store, sink, watch)
    assert sink.found == [("a", "1")]


async def test_an_object_that_can_be_listed_but_not_read_is_looked_up_once() -> None:
    store, sink, watch = Store({"a": "1"}, unreadable={"a"}), Sink(), Watch(WHERE)
    await poll(store, sink, watch, times=3)
    assert sink.found == []
    assert store.stats == ["a"]


async def test_what_the_ledger_did_not_take_is_offered_again() -> None:
    store, sink, watch = Store({"a": "1"}), Sink(failing=True), Watch(WHERE)
    for _ in range(2):
        try:
            await poll(store, sink, watch)
        except LedgerUnavailable:
            continue
    sink.failing = False
    await poll(store, sink, watch)
    assert sink.found == [("a", "1")]


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3), max_size=8), st.integers(1, 3)
)
def test_ready_means_that_the_last_listings_agree(listings: list[dict[str, str]], settle: int) -> None:
    watch = Watch(WHERE)
    for number, objects in enumerate(listings, 1):
        ready = watch.take((row(key, revision) for key, revision in objects.items()), settle)
        watch.finish(ready)
        recent = listings[max(0, number - settle) : number]
        for event in ready:
            assert [one.get(event.key.removeprefix("in/")) for one in recent] == [event.revision] * settle


async def test_a_row_that_cannot_be_used_hides_no_other_and_is_told_of() -> None:
    store, sink, watch = Store({"a": "1", "b": "1"}, bad_row=True), Sink(), Watch(WHERE)
    for _ in range(2):
        with pytest.raises(UnusableRows, match="odd"):
            await poll(store, sink, watch)
    assert sink.found == [("a", "1"), ("b", "1")]


async def test_an_object_that_cannot_be_looked_up_hides_no_other_and_is_tried_again() -> None:
    store, sink, watch = Store({"a": "1", "b": "1", "c": "1"}, broken={"a", "b"}), Sink(), Watch(WHERE)
    await poll(store, sink, watch)
    assert sink.found == [("c", "1")]
    store.broken = set()
    await poll(store, sink, watch)
    assert sink.found == [("c", "1"), ("a", "1"), ("b", "1")]


async def test_a_store_that_is_away_is_not_asked_for_each_object() -> None:
    store, sink, watch = Store({str(n): "1" for n in range(50)}, away=True), Sink(), Watch(WHERE)
    store.broken = set(store.objects)
    with pytest.raises(StoreError, match="garbage"):
        await poll(store, sink, watch)
    assert len(store.stats) == 1


async def test_an_object_that_is_still_written_to_waits() -> None:
    store, sink, watch = Store({"a": "1", "b": "1"}, growing={"a"}), Sink(), Watch(WHERE)
    await poll(store, sink, watch, times=2)
    assert sink.found == [("b", "1")]
    store.growing = set()
    await poll(store, sink, watch)
    assert sink.found == [("b", "1"), ("a", "1")]


async def test_other_settings_of_a_store_are_used_at_once() -> None:
    old, new, sink = Store({"a": "1"}), Store({"b": "1"}), Sink()
    async with running(old, sink) as poller:
        await eventually_here(lambda: sink.found == [("a", "1")])
        poller.replace(new)
        await eventually_here(lambda: sink.found == [("a", "1"), ("b", "1")])
        seen = old.listings
        await eventually_here(lambda: new.listings > 3)
        assert old.listings == seen


# -- the loop ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def running(store: Store, sink: Sink, where: Iterable[Prefix] = (WHERE,)):
    poller = make_poller(store, sink, interval=0.01)
    poller.watch(where)
    task = asyncio.create_task(poller.run())
    try:
        yield poller
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_objects_are_found_while_it_runs() -> None:
    store, sink = Store({"a": "1"}), Sink()
    async with running(store, sink):
        await eventually_here(lambda: sink.found == [("a", "1")])
        store.objects["b"] = "1"
        await eventually_here(lambda: sink.found == [("a", "1"), ("b", "1")])


async def test_a_store_or_ledger_that_is_away_for_a_while_stops_nothing() -> None:
    store, sink = Store({"a": "1"}, failing=True), Sink(failing=True)
    async with running(store, sink):
        await eventually_here(lambda: store.listings > 1)
        store.failing = False
        await eventually_here(lambda: store.stats)
        sink.failing = False
        await eventually_here(lambda: sink.found == [("a", "1")])


async def test_prefixes_come_and_go() -> None:
    store, sink = Store({"a": "1"}), Sink()
    async with running(store, sink, where=()) as poller:
        await asyncio.sleep(0.03)  # in which it must not list
        assert store.listings == 0
        poller.watch([WHERE])
        await eventually_here(lambda: sink.found)
        poller.watch([])
        await asyncio.sleep(0.05)  # in which a listing that has begun ends
        seen = store.listings
        await asyncio.sleep(0.05)  # in which it must not list again
        assert store.listings == seen


def test_a_prefix_in_which_nothing_happens_is_listed_less_often() -> None:
    watch = Watch(WHERE)
    pauses = []
    for _ in range(10):
        watch.rest(interval=0.5)
        pauses.append(watch.pause)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.5, 2.0)
    watch.take([row("new")], settle=2)
    watch.rest(interval=0.5)
    assert watch.pause == 0.5


def test_a_prefix_with_very_many_objects_is_listed_less_often() -> None:
    few, many = Watch(WHERE), Watch(WHERE)
    few.take([row("a")], settle=1)
    many.take((row(str(number)) for number in range(20_000)), settle=1)
    few.rest(1.0)
    many.rest(1.0)
    assert many.due > few.due


async def test_a_missing_bucket_is_told_at_once() -> None:
    class Bucketless(Store):
        def list(self, where: Prefix) -> Iterator[StorageEvent]:
            raise BucketMissing(f"bucket {where.bucket} does not exist")

    missing = MissingBuckets()
    poller = make_poller(Bucketless(), Sink(), 0.01, missing)
    poller.watch([WHERE])
    task = asyncio.create_task(poller.run())
    await eventually_here(lambda: missing.buckets[:1] == [WHERE.bucket])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
