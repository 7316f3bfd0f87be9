# SPDX-License-Identifier: Apache-2.0
"""Changes of the catalogue, executed one after another: planned, stored, and passed to the reconciler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from oscar_fedcloud.catalogue.catalogue import Catalogue, Write, WrittenChange
from oscar_fedcloud.catalogue.ports import ChangeListener, JobCanceller
from oscar_fedcloud.catalogue.reconciler import BucketRef, Reconciler, buckets_of
from oscar_fedcloud.catalogue.rules import Rule
from oscar_fedcloud.domain.services import Change, Plan
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.storage.errors import BucketMissing
from oscar_fedcloud.storage.stores import StoreRegistry


class Changes:
    """Plans and applies changes, and informs listeners.

    Args:
        rules: requirements for documents that come from the catalogue's repository.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        reconciler: Reconciler,
        jobs: JobCanceller,
        providers: StoreRegistry,
        rules: Sequence[Rule] = (),
    ) -> None:
        self.catalogue = catalogue
        self.reconciler = reconciler
        self.jobs = jobs
        self.providers = providers
        self.rules = tuple(rules)
        self._listeners: list[ChangeListener] = []
        self._under_way: set[asyncio.Task[Plan]] = set()

    def add_listener(self, listener: ChangeListener) -> None:
        """Add a listener to be informed of changes."""
        self._listeners.append(listener)

    async def plan(self, change: Change) -> Plan:
        """Return what a change would do. Raises FdlError, Conflict, NotFound."""
        async with self.catalogue.changing:
            return await asyncio.to_thread(self.catalogue.plan, change)

    async def apply(self, change: Change) -> Plan:
        """Apply a change. Documents are durable when this returns; buckets, rules and keys follow.

        Raises the same errors as ``plan``, and RepositoryError, StoreError. A failure for one service does not affect
        others.
        """
        task = asyncio.create_task(self._apply(change), name="change of the catalogue")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)  # complete the change even if the caller is cancelled

    async def _apply(self, change: Change) -> Plan:
        async with self.catalogue.changing:
            return await self.apply_locked(change)

    async def apply_locked(self, change: Change, write: Write | None = None) -> Plan:
        """Apply a change while the caller holds ``changing``. ``write`` replaces the repository's own method."""
        plan = await asyncio.to_thread(self.catalogue.plan, change)
        if not plan.changed:
            return plan
        before = {item.name: found for item in plan.items if (found := self.catalogue.services.get(item.name))}
        keys = {item.name: self.catalogue.repository.keys(item.name) for item in plan.items if item.action == "delete"}
        written = await asyncio.to_thread(self.catalogue.write, change, plan, write)
        self.catalogue.commit(plan, written)
        failures = list(written.failures.values())
        for name in keys.keys() - written.failures.keys():
            try:
                await self._clean_up(before[name], keys[name], delete_data=change.data == "delete")
            except Exception as error:  # the service is gone nevertheless, and listeners must be informed
                failures.append(error)
        changed = {item.name for item in plan.items if item.action in ("update", "delete")} - written.failures.keys()
        self._announce(written, {place for name in changed for place in buckets_of(before[name])}, change.data)
        if failures:
            raise failures[0]
        return plan

    def _announce(self, written: WrittenChange, released: set[BucketRef], data: str) -> None:
        """Inform the listeners of what was written. ``released`` are the buckets that changed services used before."""
        if data == "delete":
            released &= self._buckets_in_use()  # the others are deleted, and must not be created again
        self.providers.sync(self.catalogue.services.values())
        for listener in self._listeners:
            listener.services_changed()
        self.reconciler.changed((entry.name for entry in written.entries), released)

    async def _clean_up(self, service: Service, keys: Mapping[str, Credential], delete_data: bool) -> None:
        """Cancel the jobs of a removed service, and delete its keys and, if requested, its data."""
        await self.jobs.cancel_all(service.name)
        for provider_id, credential in keys.items():
            if provider := self.providers.get(provider_id):
                await self.providers.run(provider_id, provider.drop_credential, credential)
        if delete_data:
            for provider_id, bucket in sorted(buckets_of(service) - self._buckets_in_use()):
                if provider := self.providers.get(provider_id):
                    with contextlib.suppress(BucketMissing):
                        await self.providers.run(provider_id, provider.delete_bucket, bucket, True)

    def _buckets_in_use(self) -> set[BucketRef]:
        return {place for service in self.catalogue.services.values() for place in buckets_of(service)}

    async def rollback(self, name: str, revision: int | None) -> Plan:
        """Declare an earlier revision again, as a new revision; None means the previous one. Raises NotFound."""
        service = await asyncio.to_thread(self.catalogue.revision, name, revision)
        return await self.apply(Change(documents=(service,)))

    def revisions(self, name: str) -> list[dict[str, Any]]:
        """Return all revisions of a service, newest first. Raises NotFound. Blocks."""
        return self.catalogue.revisions(name)
