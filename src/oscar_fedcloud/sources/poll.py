# SPDX-License-Identifier: Apache-2.0
"""Finds new objects in stores that send no events, by listing again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

import structlog

from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.model import Prefix, StorageEvent, Via, event_id
from oscar_fedcloud.providers.errors import ProviderError
from oscar_fedcloud.waiting import wait

log = structlog.get_logger(__name__)

_SLOWEST = 2.0  # s between listings of a prefix in which nothing happens
_LONGEST = 60.0  # s between listings of a prefix with very many objects
_SHARE = 50  # listing may take 1/50 of a processor
_CHUNK = 500


class PolledStore(Protocol):
    """What polling needs of a provider."""

    id: str
    settle: int

    def list(self, where: Prefix) -> Iterable[StorageEvent]:
        """The current object of each key."""

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        """The current object with its depth, or None."""


class Known(Protocol):
    """What the ledger knows already."""

    def known(self, provider: str, bucket: str, events: Sequence[StorageEvent]) -> set[str]:
        """Ids of those events that are recorded or seen. Blocks."""


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
        begun = time.thread_time()
        ready: list[StorageEvent] = []
        done: dict[str, str] = {}
        settling: dict[str, tuple[str, int]] = {}
        for row in rows:
            if self.done.get(row.key) == row.revision:
                done[row.key] = row.revision
                continue
            before, count = self.settling.get(row.key, ("", 0))
            count = count + 1 if before == row.revision else 1
            settling[row.key] = (row.revision, count)
            if count >= settle:
                ready.append(row)
        self.done, self.settling = done, settling
        self.cost = time.thread_time() - begun
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


class Poller:
    """Polls the inputs of one provider. ``interval``: least seconds between two listings of a prefix."""

    def __init__(
        self,
        provider: PolledStore,
        ledger: Known,
        ingest: Callable[[list[StorageEvent]], Awaitable[None]],
        interval: float = 1.0,
    ) -> None:
        self.provider = provider
        self.ledger = ledger
        self.ingest = ingest
        self.interval = interval
        self._watches: dict[Prefix, Watch] = {}
        self._wake = asyncio.Event()

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
        except (ProviderError, LedgerUnavailable) as error:
            problem = str(error)
        if problem and problem != watch.problem:
            log.warning("polling failed, it will be repeated", prefix=watch.where.prefix, error=problem)
        watch.problem = problem
        watch.rest(self.interval)

    async def poll(self, watch: Watch) -> None:
        """List one prefix once and hand on what is new."""
        ready = await asyncio.to_thread(lambda: watch.take(self.provider.list(watch.where), self.provider.settle))
        rows = iter(ready)
        while chunk := list(islice(rows, _CHUNK)):
            fresh = await asyncio.to_thread(self._fresh, watch, chunk)
            if fresh:
                await self.ingest(fresh)
                watch.finish(fresh)

    def _fresh(self, watch: Watch, rows: list[StorageEvent]) -> list[StorageEvent]:
        """Those rows that the ledger does not know, with their depth. The others are finished."""
        known = self.ledger.known(self.provider.id, watch.where.bucket, rows)
        watch.finish(row for row in rows if event_id(row) in known)
        return list(self._with_depth(watch, (row for row in rows if event_id(row) not in known)))

    def _with_depth(self, watch: Watch, rows: Iterable[StorageEvent]) -> Iterator[StorageEvent]:
        for row in rows:
            found = self.provider.stat(row.bucket, row.key)
            if found is None:  # gone, or a name that can be listed but not read: not looked at again while it stays
                log.warning("object cannot be read", provider=self.provider.id, bucket=row.bucket, key=row.key)
                watch.finish([row])
            elif found.revision == row.revision:
                yield replace(found, via=Via.POLL)
