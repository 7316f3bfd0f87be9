# SPDX-License-Identifier: Apache-2.0
"""Makes the stores look as the catalogue says: buckets, notification rules, baselines and keys.

For a changed service: buckets, then rules, then a listing that gives its new inputs their baseline, then its key; then
it is ready. The rule stands before the listing, so an upload in between is seen by one of the two, or by both. All of
it is repeated at start and periodically, and a rule that had to be repaired is followed by a listing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.entries import StoreError
from oscar_fedcloud.catalogue.listing import Lister
from oscar_fedcloud.core_types import ServiceState
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.model import Prefix, Provider
from oscar_fedcloud.providers.errors import ProviderError
from oscar_fedcloud.threads import Threads
from oscar_fedcloud.waiting import wait

log = structlog.get_logger(__name__)

_LISTINGS = 4  # at the same time, since each holds up to a thousand objects
_RETRY = 5.0  # s until services in error are tried again
Place = tuple[str, str]  # provider, bucket


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between repeated checks of all buckets and rules, and between listings of all inputs."""

    check: float
    listing: float


class Reconciler:
    """One task that reconciles, and a few that make keys. ``on_ready`` is told which services may start Jobs."""

    def __init__(
        self,
        catalogue: Catalogue,
        providers: Mapping[str, Provider],
        lister: Lister,
        threads: Threads,
        intervals: Intervals,
        on_ready: Callable[[list[str]], None],
    ) -> None:
        self.catalogue = catalogue
        self.providers = providers
        self.lister = lister
        self.threads = threads
        self.intervals = intervals
        self.on_ready = on_ready
        self.repairs = 0  # rules that had to be written again
        self._dirty: set[str] = set()
        self._left: set[Place] = set()  # buckets of removed services, whose rules must go
        self._requested: set[tuple[str, Prefix]] = set()
        self._wake = asyncio.Event()
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._listings = asyncio.Semaphore(_LISTINGS)

    def recover(self) -> None:
        """At start: services that have everything are ready at once, the others are made so."""
        ready = [name for name in self.catalogue.entries if self._is_whole(name)]
        self._dirty.update(self.catalogue.entries.keys() - set(ready))
        for name in ready:
            self.catalogue.set_state(name, "ready", "")
        self.on_ready(ready)

    def _is_whole(self, name: str) -> bool:
        """Whether every input of the service has its baseline and every store gave it a key."""
        if not all(state.baselined for state in self.catalogue.entries[name].inputs.values()):
            return False
        return providers_of(self.catalogue.services[name], self.providers) <= self.catalogue.store.keys(name).keys()

    def changed(self, services: Iterable[str], left: Iterable[Place] = ()) -> None:
        """These services were declared, changed or removed; ``left``: the buckets that they had before."""
        self._dirty.update(services)
        self._left.update(left)
        self._wake.set()

    def look(self, provider: str, where: Prefix) -> None:
        """List this prefix soon: something there may have been missed."""
        self._requested.add((provider, where))
        self._wake.set()

    async def prepare_site(self, buckets: Iterable[str]) -> None:
        """Make the site's own buckets, for logs and HTTP bodies; again and again until the store is there."""
        site = next(iter(self.providers.values()))
        for bucket in buckets:
            while True:
                try:
                    await self.threads.run(site.ensure_bucket, bucket)
                    break
                except ProviderError as error:
                    log.warning("the site's own bucket cannot be made", bucket=bucket, error=str(error))
                    await asyncio.sleep(_RETRY)

    async def run(self) -> None:
        """Reconcile for ever."""
        next_check = next_listing = 0.0
        while True:
            now = time.monotonic()
            check, listing = now >= next_check, now >= next_listing
            if check:
                next_check = now + self.intervals.check
            if listing:
                next_listing = now + self.intervals.listing
            await self.guarded(self._pass(check, listing))
            failed = any(state == "error" for state, _ in self.catalogue.states.values())
            rest = min(next_check, next_listing, now + _RETRY if failed else next_check) - time.monotonic()
            await wait(self._wake, max(0.05, rest))
            self._wake.clear()
            self._dirty.update(name for name, (state, _) in self.catalogue.states.items() if state == "error")

    async def guarded(self, work: Awaitable[None]) -> None:
        """A pass that fails as a whole is reported and repeated, never the end of the task."""
        try:
            await work
        except (ProviderError, LedgerUnavailable, StoreError) as error:
            log.warning("reconciling failed, it will be repeated", error=str(error))

    async def _pass(self, check: bool, listing: bool) -> None:
        dirty, left, requested = self._dirty, self._left, self._requested
        self._dirty, self._left, self._requested = set(), set(), set()
        names = [name for name in (self.catalogue.services if check else dirty) if name in self.catalogue.services]
        places = {place for name in names for place in places_of(self.catalogue.services[name])} | left
        results = dict(zip(places, await asyncio.gather(*(self._place(place) for place in places)), strict=True))
        repaired = {place for place, result in results.items() if result is True}
        await self._list(repaired, listing, requested)
        for name in names:
            if name not in self.catalogue.services:
                continue  # removed in the meantime
            if name in dirty or self.catalogue.states[name][0] == "error":
                self._settle(name, results)

    async def _place(self, place: Place) -> bool | str:
        """Make one bucket and its rules right. True = its rules were written, a string = what went wrong."""
        provider_id, bucket = place
        provider = self.providers.get(provider_id)
        if provider is None:
            return False
        prefixes = self.catalogue.matcher.buckets(provider_id).get(bucket, [])
        try:
            await self.threads.run(provider.ensure_bucket, bucket)
            wrote = await self.threads.run(provider.ensure_rules, bucket, prefixes)
        except ProviderError as error:
            log.warning("bucket not as declared", provider=provider_id, bucket=bucket, error=str(error))
            return str(error)
        if wrote:
            self.repairs += 1
        return wrote

    async def _list(self, repaired: set[Place], everything: bool, requested: set[tuple[str, Prefix]]) -> None:
        """List what may hold objects that no event told, and every input that has no baseline yet."""
        wanted = set(requested)
        unlisted = self.catalogue.without_baseline()
        for provider_id in self.providers:
            for where in self.catalogue.matcher.prefixes(provider_id):
                name = f"{provider_id}/{where.bucket}/{where.prefix}"
                if everything or name in unlisted or (provider_id, where.bucket) in repaired:
                    wanted.add((provider_id, where))
        await asyncio.gather(*(self._list_one(provider_id, where, everything) for provider_id, where in wanted))

    async def _list_one(self, provider_id: str, where: Prefix, everything: bool) -> None:
        async with self._listings:
            await self.guarded(self.lister.look(self.providers[provider_id], where, prune=everything))

    def _settle(self, name: str, results: Mapping[Place, bool | str]) -> None:
        """A service whose buckets stand waits for its key; one whose buckets do not is in error."""
        service = self.catalogue.services[name]
        problems = [str(results[place]) for place in places_of(service) if isinstance(results.get(place), str)]
        waiting = [key for key, state in self.catalogue.entries[name].inputs.items() if not state.baselined]
        if problems:
            self._set_state(name, "error", problems[0])
        elif waiting:
            self._set_state(name, "error", f"{waiting[0]} could not be listed")
        else:
            self._keys.put_nowait(name)

    async def make_keys(self) -> None:
        """Make the keys of services for ever. Several of these tasks may run."""
        while True:
            name = await self._keys.get()
            service = self.catalogue.services.get(name)
            if service is None:
                continue
            try:
                await self.threads.run(self._make_key, service)
            except (ProviderError, StoreError) as error:
                log.warning("no key for a service", service=name, error=str(error))
                self._set_state(name, "error", str(error))
            else:
                self._set_state(name, "ready", "")

    def _make_key(self, service: Service) -> None:
        known = self.catalogue.store.keys(service.name)
        made = {
            provider_id: self.providers[provider_id].ensure_credential(service, known.get(provider_id))
            for provider_id in providers_of(service, self.providers)
        }
        if made != known:
            self.catalogue.store.save_keys(service.name, made)

    def _set_state(self, name: str, state: ServiceState, reason: str) -> None:
        if name not in self.catalogue.entries:
            return
        self.catalogue.set_state(name, state, reason)
        if state == "ready":
            self.on_ready([name])


def places_of(service: Service) -> set[Place]:
    """The buckets of a service's inputs and outputs."""
    inputs = {(source.storage_provider, source.bucket) for source in service.input}
    return inputs | {(target.storage_provider, target.bucket) for target in service.output}


def providers_of(service: Service, configured: Mapping[str, Provider]) -> set[str]:
    """Where a service needs a key: at the stores of its inputs and outputs, and at the site's own for logs and bodies.

    Stores that only a service's outputs name are not ours to ask; their keys stand in its FDL.
    """
    site = next(iter(configured))
    return {provider for provider, _ in places_of(service) if provider in configured} | {site}
