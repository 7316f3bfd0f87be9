# SPDX-License-Identifier: Apache-2.0
"""Brings the stores to the state that the catalogue declares: buckets, notification rules, baselines and keys.

Each store has a task of its own (a lane), so that a store that hangs delays only the services that use it.

A changed service becomes ready in this order: buckets, rules, a listing that records the baseline of new inputs, key.
The rule exists before the listing, so an upload in between is noticed by at least one of them. All steps are repeated
at start and periodically. A rule that had to be repaired is followed by a listing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.entries import RepositoryError
from oscar_fedcloud.catalogue.listing import Lister
from oscar_fedcloud.catalogue.ports import ReadyListener
from oscar_fedcloud.domain.services import ServiceState
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words, wait
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.stores import StoreRegistry

log = structlog.get_logger(__name__)

_LISTINGS = 4  # concurrent listings; each holds up to a thousand objects
_RETRY = 5.0  # s until services in error are tried again
BucketRef = tuple[str, str]  # provider, bucket


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between repeated checks of all buckets and rules, and between listings of all inputs."""

    check: float
    listing: float


@dataclass(slots=True)
class Work:
    """The pending work at one store."""

    places: set[BucketRef] = field(default_factory=set)  # buckets to check
    listings: set[Prefix] = field(default_factory=set)
    everything: bool = False  # list every input


class Reconciler:
    """Runs one task that reconciles, and a few that create keys."""

    def __init__(self, catalogue: Catalogue, providers: StoreRegistry, lister: Lister, intervals: Intervals) -> None:
        self.catalogue = catalogue
        self.providers = providers
        self.lister = lister
        self.intervals = intervals
        self._listeners: list[ReadyListener] = []
        self.repairs = 0  # rules that had to be written again
        self._dirty: set[str] = set()
        self._released: set[BucketRef] = set()  # buckets of removed services, whose rules must be deleted
        self._requested: set[tuple[str, Prefix]] = set()
        self._wake = asyncio.Event()
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._retry_at = math.inf  # when services in error are tried again
        self._unfinished: dict[str, set[BucketRef]] = {}  # service -> its buckets that are not checked yet
        self._results: dict[BucketRef, bool | str] = {}  # of the last check; a string describes the failure
        self._work: dict[str, Work] = {}  # store -> its next work
        self._listing_problems: dict[str, str] = {}  # input -> why its last listing failed
        self._lanes: dict[str, asyncio.Task[None]] = {}  # store -> its running task

    def add_listener(self, listener: ReadyListener) -> None:
        """Add a listener to be informed of services that are ready."""
        self._listeners.append(listener)

    def _announce(self, services: list[str]) -> None:
        for listener in self._listeners:
            listener.services_ready(services)

    def recover(self) -> None:
        """Mark complete services as ready at start, and queue all others."""
        ready = [name for name in self.catalogue.entries if self._is_complete(name)]
        self._dirty.update(self.catalogue.entries.keys() - set(ready))
        for name in ready:
            self.catalogue.set_state(name, "ready", "")
        self._announce(ready)

    def _is_complete(self, name: str) -> bool:
        """Return whether every input of the service has its baseline and every store its key."""
        if not all(state.baselined for state in self.catalogue.entries[name].inputs.values()):
            return False
        try:
            keys = self.catalogue.repository.keys(name).keys()
        except Exception as error:
            report(log, "the keys of a service cannot be read, creating new ones", error, service=name)
            return False
        return key_stores_of(self.catalogue.services[name], self.providers) <= keys

    def changed(self, services: Iterable[str], released: Iterable[BucketRef] = ()) -> None:
        """Reconcile services that were declared, changed or removed.

        ``released`` are the buckets that they used before.
        """
        self._dirty.update(services)
        self._released.update(released)
        self._wake.set()

    def bucket_missing(self, provider: str, bucket: str) -> None:
        """Mark the services that use a missing bucket as pending, and create the bucket again."""
        users = [name for name, one in self.catalogue.services.items() if (provider, bucket) in buckets_of(one)]
        names = [name for name in users if self.catalogue.states[name][0] == "ready"]
        for name in names:
            self.catalogue.set_state(name, "pending", f"bucket {bucket} is missing at {provider}, it is made again")
        if names:
            self.changed(names)

    def relist(self, provider: str, where: Prefix) -> None:
        """List this prefix soon, since events may have been missed."""
        self._requested.add((provider, where))
        self._wake.set()

    async def prepare_site(self, buckets: Iterable[str]) -> None:
        """Create the site's own buckets for logs and HTTP bodies, retrying until the store is available."""
        site = self.providers.site_store
        for bucket in buckets:
            while True:
                try:
                    await self.providers.run(site.id, site.ensure_bucket, bucket)
                    break
                except StoreError as error:
                    log.warning("the site's own bucket cannot be made", bucket=bucket, error=str(error))
                    await asyncio.sleep(_RETRY)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        try:
            await self._run()
        finally:
            for lane in self._lanes.values():
                lane.cancel()

    async def _run(self) -> None:
        next_check = next_listing = 0.0
        while True:
            now = time.monotonic()
            check, listing = now >= next_check, now >= next_listing
            if check:
                next_check = now + self.intervals.check
            if listing:
                next_listing = now + self.intervals.listing
            self._distribute(check, listing)
            rest = min(next_check, next_listing, self._retry_at) - time.monotonic()
            await wait(self._wake, max(0.05, rest))
            self._wake.clear()
            if time.monotonic() >= self._retry_at:
                self._retry_at = math.inf
                self._dirty.update(name for name, (state, _) in self.catalogue.states.items() if state == "error")

    def _distribute(self, check: bool, listing: bool) -> None:
        """Distribute the pending work to the lanes of the stores."""
        dirty, released, requested = self._dirty, self._released, self._requested
        self._dirty, self._released, self._requested = set(), set(), set()
        names = [name for name in (self.catalogue.services if check else dirty) if name in self.catalogue.services]
        for name in names:
            places = buckets_of(self.catalogue.services[name])
            released = released | places
            if name in dirty or self.catalogue.states[name][0] == "error":
                self._unfinished[name] = {place for place in places if place[0] in self.providers}
        for place in released:
            self._work_at(place[0]).places.add(place)
        for provider_id, where in requested:
            self._work_at(provider_id).listings.add(where)
        if listing:
            for provider_id in self.providers:
                self._work_at(provider_id).everything = True
        self._finish_ready(names)
        for provider_id in self._work.keys() - self._lanes.keys():
            lane = asyncio.create_task(self._lane(provider_id), name=f"reconcile {provider_id}")
            self._lanes[provider_id] = lane
            lane.add_done_callback(self._lane_ended)

    def _work_at(self, provider_id: str) -> Work:
        return self._work.setdefault(provider_id, Work())

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        """Set the services of a lane that failed unexpectedly to error, so that they are retried.

        Others are not affected.
        """
        provider_id = next(name for name, task in self._lanes.items() if task is lane)
        del self._lanes[provider_id]
        if lane.cancelled() or (error := lane.exception()) is None:
            if provider_id in self._work:  # work that arrived after the lane's last check
                self._wake.set()
            return
        report(log, "reconciling a store failed", error, provider=provider_id)
        for name, places in list(self._unfinished.items()):
            if any(place[0] == provider_id for place in places):
                del self._unfinished[name]
                self._set_state(name, "error", f"storage provider {provider_id}: {in_words(error)}")

    async def _lane(self, provider_id: str) -> None:
        """Do the work at one store until none is left."""
        while work := self._work.pop(provider_id, None):
            # Services that change from now on are handled with the next work.
            waiting = dict(self._unfinished)
            places = list(work.places)
            found = await asyncio.gather(*(self._reconcile_bucket(place) for place in places))
            self._results.update(zip(places, found, strict=True))
            repaired = {place for place, result in zip(places, found, strict=True) if result is True}
            await self._list(provider_id, repaired, work)
            for name, released in waiting.items():
                if self._unfinished.get(name) is released:
                    released.difference_update([place for place in released if place[0] == provider_id])
            self._finish_ready(waiting)

    def _finish_ready(self, names: Iterable[str]) -> None:
        """Finish those services whose buckets have all been checked."""
        for name in list(names):
            if self._unfinished.get(name) == set():
                del self._unfinished[name]
                if name in self.catalogue.services:
                    self._finish(name)

    async def _reconcile_bucket(self, place: BucketRef) -> bool | str:
        """Create one bucket and set its rules.

        Return whether rules were written, or a string that describes the failure.
        """
        provider_id, bucket = place
        provider = self.providers.get(provider_id)
        if provider is None:
            return False
        prefixes = self.catalogue.matcher.buckets(provider_id).get(bucket, [])
        try:
            await self.providers.run(provider_id, provider.ensure_bucket, bucket)
            wrote = await self.providers.run(provider_id, provider.ensure_rules, bucket, prefixes)
        except StoreError as error:
            log.warning("bucket not as declared", provider=provider_id, bucket=bucket, error=str(error))
            return str(error)
        except Exception as error:  # of this bucket alone: the others of its store are made
            report(log, "bucket not as declared", error, provider=provider_id, bucket=bucket)
            return f"bucket {bucket} of storage provider {provider_id}: {in_words(error)}"
        if wrote:
            self.repairs += 1
        return wrote

    async def _list(self, provider_id: str, repaired: set[BucketRef], work: Work) -> None:
        """List prefixes that may hold objects without an event, and every input without a baseline."""
        wanted = dict.fromkeys(work.listings, False)  # prefix -> whether to forget objects that are gone
        unlisted = self.catalogue.without_baseline()
        for where in self.catalogue.matcher.prefixes(provider_id):
            name = f"{provider_id}/{where.bucket}/{where.prefix}"
            if work.everything or name in unlisted or (provider_id, where.bucket) in repaired:
                wanted[where] = work.everything
        slots = asyncio.Semaphore(_LISTINGS)
        await asyncio.gather(*(self._list_one(slots, provider_id, where, prune) for where, prune in wanted.items()))

    async def _list_one(self, slots: asyncio.Semaphore, provider_id: str, where: Prefix, prune: bool) -> None:
        """List one prefix. A failure is recorded; the listing is repeated with the service or at the next check."""
        async with slots:
            provider = self.providers.get(provider_id)
            if provider is None:
                return
            try:
                await self.lister.relist(provider, where, prune=prune)
            except (StoreError, LedgerUnavailable, RepositoryError) as error:
                log.warning("listing failed, it will be repeated", provider=provider_id, error=str(error))
                self._listing_problems[f"{provider_id}/{where.bucket}/{where.prefix}"] = str(error)
            else:
                self._listing_problems.pop(f"{provider_id}/{where.bucket}/{where.prefix}", None)

    def _finish(self, name: str) -> None:
        """Queue the creation of a service's key if its buckets are in order, else set it to error."""
        service = self.catalogue.services[name]
        found = [self._results.get(place) for place in buckets_of(service)]
        problems = [result for result in found if isinstance(result, str)]
        waiting = [key for key, state in self.catalogue.entries[name].inputs.items() if not state.baselined]
        if problems:
            self._set_state(name, "error", problems[0])
        elif waiting:
            why = self._listing_problems.get(waiting[0], "")
            self._set_state(name, "error", f"{waiting[0]} could not be listed{': ' if why else ''}{why}")
        else:
            self._keys.put_nowait(name)

    async def make_keys(self) -> None:
        """Create the keys of services until cancelled. Several of these tasks may run."""
        while True:
            name = await self._keys.get()
            service = self.catalogue.services.get(name)
            if service is None:
                continue
            try:
                await self._make_key(service)
            except (StoreError, RepositoryError) as error:
                log.warning("no key for a service", service=name, error=str(error))
                self._set_state(name, "error", str(error))
            except Exception as error:  # affects this service only
                report(log, "no key for a service", error, service=name)
                self._set_state(name, "error", in_words(error))
            else:
                self._set_state(name, "ready", "")

    async def _make_key(self, service: Service) -> None:
        known = self.catalogue.repository.keys(service.name)
        made: dict[str, Credential] = {}
        for provider_id in key_stores_of(service, self.providers):
            provider = self.providers[provider_id]
            key = await self.providers.run(provider_id, provider.ensure_credential, service, known.get(provider_id))
            made[provider_id] = key
        if made != known:
            await asyncio.to_thread(self.catalogue.repository.save_keys, service.name, made)

    def _set_state(self, name: str, state: ServiceState, reason: str) -> None:
        if name not in self.catalogue.entries:
            return
        self.catalogue.set_state(name, state, reason)
        if state == "ready":
            self._announce([name])
        elif state == "error" and self._retry_at == math.inf:
            self._retry_at = time.monotonic() + _RETRY
            self._wake.set()


def buckets_of(service: Service) -> set[BucketRef]:
    """Return the buckets of a service's inputs and outputs."""
    inputs = {(source.storage_provider, source.bucket) for source in service.input}
    return inputs | {(target.storage_provider, target.bucket) for target in service.output}


def key_stores_of(service: Service, stores: StoreRegistry) -> set[str]:
    """Return the stores where a service needs a key: those of its inputs and outputs, and the site's own.

    Stores that only a service's outputs name are left out: their keys are in its FDL.
    """
    return {store for store, _ in buckets_of(service) if store in stores} | {stores.site_store.id}
