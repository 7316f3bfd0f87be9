# SPDX-License-Identifier: Apache-2.0
"""Finds new objects in stores that send no events, by listing again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import structlog

from oscar_fedcloud.catalogue.intake import EventIntake
from oscar_fedcloud.catalogue.reconciler import Reconciler
from oscar_fedcloud.domain.events import StorageEvent, Via, event_id
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words, wait
from oscar_fedcloud.storage.errors import BucketMissing, StoreError
from oscar_fedcloud.storage.ports import ObjectReader
from oscar_fedcloud.storage.rows import look_up, some_rows
from oscar_fedcloud.storage.stores import StoreRegistry

log = structlog.get_logger(__name__)

_SLOWEST = 2.0  # s between listings of a prefix in which nothing happens
_LONGEST = 60.0  # s between listings of a prefix with very many objects
_SHARE = 50  # listing may take 1/50 of a processor
_CHUNK = 500


@dataclass(slots=True)
class Watch:
    """What polling remembers of one prefix.

    done: key -> revision that was handed on or known. settling: key -> (revision, listings that agreed on it).
    """

    where: Prefix
    done: dict[str, str] = field(default_factory=dict)
    settling: dict[str, tuple[str, int]] = field(default_factory=dict)
    problem: str = ""  # of the last listing
    pause: float = 0.0
    due: float = 0.0
    cost: float = 0.0  # processor seconds of the last listing

    def take(self, rows: Iterable[StorageEvent], settle: int) -> list[StorageEvent]:
        """Note one whole listing; the objects that are new, and on which ``settle`` listings in a row agreed."""
        scan = Scan(self, settle)
        ready = scan.add(rows)
        scan.end()
        return ready

    def finish(self, events: Iterable[StorageEvent]) -> None:
        """These need no further attention."""
        for event in events:
            self.done[event.key] = event.revision
            self.settling.pop(event.key, None)

    def rest(self, interval: float) -> None:
        """Set when the next listing is due: soon while something happens, later when not or when listing is costly."""
        self.pause = interval if self.settling else min(max(self.pause * 1.5, interval), max(_SLOWEST, interval))
        self.due = time.monotonic() + min(max(self.pause, self.cost * _SHARE), max(_LONGEST, interval))


class Scan:
    """One listing of a prefix, taken part by part."""

    def __init__(self, watch: Watch, settle: int) -> None:
        self.watch = watch
        self.settle = settle
        self._known = watch.done
        self._before = watch.settling
        self._settling: dict[str, tuple[str, int]] = {}
        self._done: dict[str, str] = {}
        self._cost = 0.0

    def add(self, rows: Iterable[StorageEvent]) -> list[StorageEvent]:
        """Note rows; those that are new, and on which enough listings agreed."""
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
        """Make what this listing showed the memory of the watch; of one that broke off, beside what was known."""
        self.watch.done = self._done if whole else {**self._known, **self._done}
        self.watch.settling = self._settling if whole else {**self._before, **self._settling}
        self.watch.cost = self._cost


class Poller:
    """Polls the inputs of one provider.

    interval: least seconds between two listings of a prefix.
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
        """Ask another store from now on: the settings of this one have changed."""
        self.provider = provider
        self._watches = {where: Watch(where) for where in self._watches}
        self._wake.set()

    def watch(self, prefixes: Iterable[Prefix]) -> None:
        """Poll exactly these from now on."""
        wanted = set(prefixes)
        self._watches = {where: self._watches.get(where) or Watch(where) for where in wanted}
        self._wake.set()

    async def run(self) -> None:
        """Poll for ever. A listing that fails is repeated, and reported once for each cause."""
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
        except Exception as error:  # of this input alone: the others are polled on
            report(log, "polling failed unexpectedly", error, prefix=watch.where.prefix)
            problem = in_words(error)
        if problem and problem != watch.problem:
            log.warning("polling failed, it will be repeated", prefix=watch.where.prefix, error=problem)
        watch.problem = problem
        watch.rest(self.interval)

    async def poll(self, watch: Watch) -> None:
        """List one prefix once and hand on what is new. Raises StoreError when that was not all of it."""
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
        """Ingest those rows that the ledger does not know, with their depth. The others are finished."""
        known = await asyncio.to_thread(self.ledger.known, provider.id, watch.where.bucket, rows)
        watch.finish(row for row in rows if event_id(row) in known)
        unknown = [row for row in rows if event_id(row) not in known]
        if not unknown:
            return
        fresh: list[StorageEvent] = []
        for row, found in await self.stores.run(provider.id, look_up, provider, unknown):
            if found is None:  # gone, or a name that can be listed but not read: not looked at again while it stays
                log.warning("object cannot be read", provider=provider.id, bucket=row.bucket, key=row.key)
                watch.finish([row])
            elif found.revision == row.revision:
                fresh.append(replace(found, via=Via.POLL))
        fresh = await self.stores.run(provider.id, lambda: [event for event in fresh if provider.settled(event)])
        if fresh:
            await self.intake.record(fresh)
            watch.finish(fresh)


def batched(rows: list[StorageEvent], size: int) -> Iterator[list[StorageEvent]]:
    """The rows in lists of at most ``size``."""
    iterator = iter(rows)
    while part := list(islice(iterator, size)):
        yield part
