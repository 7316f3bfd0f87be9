# SPDX-License-Identifier: Apache-2.0
"""Lists inputs: objects unknown to the ledger are new, or old if the input has no baseline yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace

import structlog

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.intake import EventIntake
from oscar_fedcloud.domain.events import StorageEvent, event_id
from oscar_fedcloud.domain.runs import run_id
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.storage.errors import UnusableRows
from oscar_fedcloud.storage.ports import ObjectReader
from oscar_fedcloud.storage.rows import look_up, some_rows
from oscar_fedcloud.storage.stores import StoreRegistry

log = structlog.get_logger(__name__)

_CHUNK = 1000
_SKEW = 1.5  # s: a clock difference below this is rounding of the store's HTTP date


class Lister:
    """Lists prefixes for the reconciler, and ingests objects that no event reported."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger, stores: StoreRegistry, intake: EventIntake) -> None:
        self.catalogue = catalogue
        self.ledger = ledger
        self.stores = stores
        self.intake = intake
        self.found = 0  # events found by listing alone

    async def relist(self, provider: ObjectReader, where: Prefix, prune: bool = False) -> None:
        """List a prefix: record baselines, ingest unknown objects and, with ``prune``, forget objects that are gone.

        Unusable rows are skipped, and then nothing is forgotten. A polled store only gets its baselines: its poller
        finds the new objects, and knows when a file has settled.
        """
        begun = time.time()
        skew = await self.stores.run(provider.id, provider.clock) - begun
        skew = skew if abs(skew) > _SKEW else 0.0
        unlisted = self._without_baseline(provider, where)
        rows = await self.stores.run(provider.id, lambda: iter(provider.list(where)))
        present: set[str] = set()
        problem: Exception | None = None
        while problem is None:
            chunk, problem = await self.stores.run(provider.id, some_rows, rows, _CHUNK)
            await self._ingest(provider, where, chunk, unlisted, skew)
            if prune:
                present.update(event_id(event) for event in chunk)
            if not chunk:
                break
        if problem is not None and not isinstance(problem, UnusableRows):
            raise problem
        for service in unlisted:
            await self.catalogue.mark_baselined(service, f"{provider.id}/{where.bucket}/{where.prefix}")
        if problem is not None:
            log.warning("objects left out", provider=provider.id, error=str(problem))
        elif prune:
            await asyncio.to_thread(self._forget_gone, provider.id, where, present, begun)

    async def _ingest(
        self, provider: ObjectReader, where: Prefix, chunk: list[StorageEvent], unlisted: dict[str, float], skew: float
    ) -> None:
        """Ingest the unknown objects among some rows."""
        fresh = await asyncio.to_thread(self._unknown, chunk, unlisted, skew)
        if not fresh or provider.polled:
            return
        stated = await self.stores.run(provider.id, look_up, provider, fresh)
        # Only the depth is taken: the times of a single object's answer are coarser than those of a listing.
        events = [replace(event, depth=found.depth) for event, found in stated if found is not None]
        if events:
            self.found += len(events)
            log.info("found by listing", provider=provider.id, bucket=where.bucket, objects=len(events))
            await self.intake.record(events)

    def _forget_gone(self, provider_id: str, where: Prefix, present: set[str], begun: float) -> None:
        """Remove the baseline entries of objects that a complete listing no longer contains."""
        name = f"{provider_id}/{where.bucket}/{where.prefix}"
        for service in self.catalogue.services_by_input.get(name, ()):
            self.ledger.prune_baseline(service, provider_id, where.bucket, present, begun, where.prefix)

    def _without_baseline(self, provider: ObjectReader, where: Prefix) -> dict[str, float]:
        """Return the services whose input has no baseline yet, each with the time (s) from which on objects are new.

        All objects are new for an input that requests existing objects, unless that was granted before by a ledger that
        has been lost since; then the baseline is newer than the document.
        """
        name = f"{provider.id}/{where.bucket}/{where.prefix}"
        found: dict[str, float] = {}
        for service in self.catalogue.services_by_input.get(name, ()):
            entry = self.catalogue.entries[service]
            state = entry.inputs[name]
            if not state.baselined:
                all_new = state.since <= entry.changed and self._wants_existing(service, provider.id, where)
                found[service] = 0.0 if all_new else state.since
        return found

    def _wants_existing(self, service: str, provider_id: str, where: Prefix) -> bool:
        return any(
            source.existing == "process"
            for source in self.catalogue.services[service].input
            if (source.storage_provider, source.bucket, source.key_prefix) == (provider_id, where.bucket, where.prefix)
        )

    def _unknown(self, chunk: list[StorageEvent], unlisted: dict[str, float], skew: float) -> list[StorageEvent]:
        """Record objects that are old for a service as its baseline; return those that a service must still process."""
        fresh: dict[str, StorageEvent] = {}
        for service, events in self._by_service(chunk).items():
            since = unlisted.get(service)
            if since is not None:
                cutoff = int((since + skew) * 1e9)
                self.ledger.record_baseline(service, [event for event in events if event.order < cutoff])
                events = [event for event in events if event.order >= cutoff]
            known = self.ledger.known_for(service, events) if events else set()
            fresh.update((event_id(event), event) for event in events if run_id(service, event) not in known)
        return list(fresh.values())

    def _by_service(self, chunk: Iterable[StorageEvent]) -> dict[str, list[StorageEvent]]:
        by_service: dict[str, list[StorageEvent]] = {}
        for event in chunk:
            for service in self.catalogue.matcher.recording(event).services:
                by_service.setdefault(service, []).append(event)
        return by_service
