# SPDX-License-Identifier: Apache-2.0
"""Finds new objects in stores that send no events, by listing them repeatedly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import structlog

from oscar_fedcloud.catalogue.intake import EventIntake
from oscar_fedcloud.catalogue.reconciler import Reconciler
from oscar_fedcloud.domain.events import Origin, StorageEvent, event_id
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words, wait
from oscar_fedcloud.storage.errors import BucketMissing, StoreError
from oscar_fedcloud.storage.ports import ObjectReader
from oscar_fedcloud.storage.rows import look_up, some_rows
from oscar_fedcloud.storage.stores import StoreRegistry

log = structlog.get_logger(__name__)

_SLOWEST = 2.0  # s between listings of a prefix without changes
_LONGEST = 60.0  # s between listings of a very large prefix
_SHARE = 50  # listing may take 1/50 of a processor
_CHUNK = 500


@dataclass(slots=True)
class Watch:
    """The state of polling for one prefix.

    Attributes:
        done: key to the revision that was ingested or known.
        settling: key to (revision, number of listings with this revision).
    """

    where: Prefix
    done: dict[str, str] = field(default_factory=dict)
    settling: dict[str, tuple[str, int]] = field(default_factory=dict)
    problem: str = ""  # of the last listing
    pause: float = 0.0
    due: float = 0.0
    cost: float = 0.0  # processor seconds of the last listing

    def take(self, rows: Iterable[StorageEvent], settle: int) -> list[StorageEvent]:
        """Record one complete listing; return new objects that were the same in ``settle`` consecutive listings."""
        scan = Scan(self, settle)
        ready = scan.add(rows)
        scan.end()
        return ready

    def finish(self, events: Iterable[StorageEvent]) -> None:
        """Mark these events as done."""
        for event in events:
            self.done[event.key] = event.revision
            self.settling.pop(event.key, None)

    def rest(self, interval: float) -> None:
        """

        et when the next listing is due: soon while objects change, later if nothing changes or listing is expensive.
        """
        self.pause = interval if self.settling else min(max(self.pause * 1.5, interval), max(_SLOWEST, interval))
        self.due = time.monotonic() + min(max(self.pause, self.cost * _SHARE), max(_LONGEST, interval))


class Scan:
    """One listing of a prefix, processed in parts."""

    def __init__(self, watch: Watch, settle: int) -> None:
        self.watch = watch
        self.settle = settle
        self._known = watch.done
        self._before = watch.settling
        self._settling: dict[str, tuple[str, int]] = {}
        self._done: dict[str, str] = {}
        self._cost = 0.0

    def add(self, rows: Iterable[StorageEvent]) -> list[StorageEvent]:
        """Record rows; return new objects that were the same in enough listings."""
        begun = time.thread_time()
        ready: list[StorageEvent] = []
        for row in rows:
            if self._known.get(row.key) == row.revision:
                self._done[row.key] = row.revision
                continue
            before, count = self._before.get(row.key, ("", 0))
            count = count + 1 if before == row.revision else 1
            self._settling[row.key] = (row.revision, count)
            if count >= self.settle:
                ready.append(row)
        self._cost += time.thread_time() - begun
        return ready

    def end(self, whole: bool = True) -> None:
        """Update the watch with this listing: replace its state if the listing is complete, else extend it."""
        self.watch.done = self._done if whole else {**self._known, **self._done}
        self.watch.settling = self._settling if whole else {**self._before, **self._settling}
        self.watch.cost = self._cost


class Poller:
    """Polls the inputs of one provider.

    Args:
        interval: minimum seconds between two listings of a prefix.
    """

    def __init__(
        self,
        provider: ObjectReader,
        stores: StoreRegistry,
        ledger: Ledger,
        intake: EventIntake,
        reconciler: Reconciler,
        interval: float = 1.0,
    ) -> None:
        self.provider = provider
        self.stores = stores
        self.ledger = ledger
        self.intake = intake
        self.reconciler = reconciler
        self.interval = interval
        self._watches: dict[Prefix, Watch] = {}
        self._wake = asyncio.Event()

    def replace(self, provider: ObjectReader) -> None:
        """Use another store from now on, after its settings have changed."""
        self.provider = provider
        self._watches = {where: Watch(where) for where in self._watches}
        self._wake.set()

    def watch(self, prefixes: Iterable[Prefix]) -> None:
        """Poll exactly these prefixes from now on."""
        wanted = set(prefixes)
        self._watches = {where: self._watches.get(where) or Watch(where) for where in wanted}
        self._wake.set()

    async def run(self) -> None:
        """Poll until cancelled. A listing that fails is repeated, and reported once for each cause."""
        while True:
            self._wake.clear()
            for watch in list(self._watches.values()):
                if watch.due <= time.monotonic():
                    await self._guarded(watch)
            due = min((watch.due for watch in self._watches.values()), default=None)
            await self._sleep(due)

    async def _sleep(self, due: float | None) -> None:
        await wait(self._wake, None if due is None else max(0.0, due - time.monotonic()))

    async def _guarded(self, watch: Watch) -> None:
        problem = ""
        try:
            await self.poll(watch)
        except (StoreError, LedgerUnavailable) as error:
            problem = str(error)
            if isinstance(error, BucketMissing):
                self.reconciler.bucket_missing(self.provider.id, watch.where.bucket)
        except Exception as error:  # affects this input only
            report(log, "polling failed unexpectedly", error, prefix=watch.where.prefix)
            problem = in_words(error)
        if problem and problem != watch.problem:
            log.warning("polling failed, retrying", prefix=watch.where.prefix, error=problem)
        watch.problem = problem
        watch.rest(self.interval)

    async def poll(self, watch: Watch) -> None:
        """List one prefix once and ingest new objects. Raises StoreError if the listing is incomplete."""
        provider = self.provider
        rows = await self.stores.run(provider.id, lambda: iter(provider.list(watch.where)))
        scan = Scan(watch, provider.settle)
        ready: list[StorageEvent] = []
        problem: StoreError | None = None
        while problem is None:
            found, problem = await self.stores.run(provider.id, some_rows, rows, _CHUNK)
            ready += await asyncio.to_thread(scan.add, found)
            if not found:
                break
        scan.end(whole=problem is None)
        for part in batched(ready, _CHUNK):
            await self._hand_on(watch, provider, part)
        if problem is not None:
            raise problem

    async def _hand_on(self, watch: Watch, provider: ObjectReader, rows: list[StorageEvent]) -> None:
        """Ingest those rows that the ledger does not know, with their depth. Mark the others as done."""
        known = await asyncio.to_thread(self.ledger.known, provider.id, watch.where.bucket, rows)
        watch.finish(row for row in rows if event_id(row) in known)
        unknown = [row for row in rows if event_id(row) not in known]
        if not unknown:
            return
        fresh: list[StorageEvent] = []
        for row, found in await self.stores.run(provider.id, look_up, provider, unknown):
            if found is None:  # deleted, or a name that can be listed but not read: skipped while it stays unchanged
                log.warning("object cannot be read", provider=provider.id, bucket=row.bucket, key=row.key)
                watch.finish([row])
            elif found.revision == row.revision:
                fresh.append(replace(found, via=Origin.POLL))
        fresh = await self.stores.run(provider.id, lambda: [event for event in fresh if provider.settled(event)])
        if fresh:
            await self.intake.record(fresh)
            watch.finish(fresh)


def batched(rows: list[StorageEvent], size: int) -> Iterator[list[StorageEvent]]:
    """Return the rows in lists of at most ``size``."""
    iterator = iter(rows)
    while part := list(islice(iterator, size)):
        yield part
