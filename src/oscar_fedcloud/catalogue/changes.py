# SPDX-License-Identifier: Apache-2.0
"""Changes of the catalogue, one after another: planned, stored, and handed to the reconciler."""

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
    """Plans and applies changes, and informs whoever follows them.

    rules: what documents must meet that the catalogue's repository brings.
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
        """Inform this one, too, of changes."""
        self._listeners.append(listener)

    async def plan(self, change: Change) -> Plan:
        """What a change would do. Raises FdlError, Conflict, NotFound."""
        async with self.catalogue.changing:
            return await asyncio.to_thread(self.catalogue.plan, change)

    async def apply(self, change: Change) -> Plan:
        """Do a change: documents are durable when this returns; buckets, rules and keys follow.

        Raises as ``plan``, and RepositoryError, StoreError. What fails for one service is done for the others.
        """
        task = asyncio.create_task(self._apply(change), name="change of the catalogue")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)  # to its end, even if who asked gives up meanwhile

    async def _apply(self, change: Change) -> Plan:
        async with self.catalogue.changing:
            return await self.carry_out(change)

    async def carry_out(self, change: Change, write: Write | None = None) -> Plan:
        """The same for who holds ``changing``; ``write`` stores it otherwise than usual."""
        plan = await asyncio.to_thread(self.catalogue.plan, change)
        if not plan.changed:
            return plan
        before = {item.name: found for item in plan.items if (found := self.catalogue.services.get(item.name))}
        keys = {item.name: self.catalogue.repository.keys(item.name) for item in plan.items if item.action == "delete"}
        written = await asyncio.to_thread(self.catalogue.write, change, plan, write)
        self.catalogue.take_over(plan, written)
        failures = list(written.failures.values())
        for name in keys.keys() - written.failures.keys():
            try:
                await self._clear_away(before[name], keys[name], delete_data=change.data == "delete")
            except Exception as error:  # the service is gone nevertheless, and everybody must be told
                failures.append(error)
        changed = {item.name for item in plan.items if item.action in ("update", "delete")} - written.failures.keys()
        self._announce(written, {place for name in changed for place in buckets_of(before[name])}, change.data)
        if failures:
            raise failures[0]
        return plan

    def _announce(self, written: WrittenChange, left: set[BucketRef], data: str) -> None:
        """Tell everybody what was written. left: the buckets that changed services had before."""
        if data == "delete":
            left &= self._places_in_use()  # the others are gone, and must not be made again
        self.providers.sync(self.catalogue.services.values())
        for listener in self._listeners:
            listener.services_changed()
        self.reconciler.changed((entry.name for entry in written.entries), left)

    async def _clear_away(self, service: Service, keys: Mapping[str, Credential], delete_data: bool) -> None:
        """End the jobs of a removed service; its data stays unless the request says otherwise."""
        await self.jobs.cancel_all(service.name)
        for provider_id, credential in keys.items():
            if provider := self.providers.get(provider_id):
                await self.providers.run(provider_id, provider.drop_credential, credential)
        if delete_data:
            for provider_id, bucket in sorted(buckets_of(service) - self._places_in_use()):
                if provider := self.providers.get(provider_id):
                    with contextlib.suppress(BucketMissing):
                        await self.providers.run(provider_id, provider.delete_bucket, bucket, True)

    def _places_in_use(self) -> set[BucketRef]:
        return {place for service in self.catalogue.services.values() for place in buckets_of(service)}

    async def rollback(self, name: str, revision: int | None) -> Plan:
        """Declare an earlier revision again, as a new one (None = the one before). Raises NotFound."""
        service = await asyncio.to_thread(self.catalogue.revision, name, revision)
        return await self.apply(Change(documents=(service,)))

    def revisions(self, name: str) -> list[dict[str, Any]]:
        """All revisions of a service, newest first. Raises NotFound. Blocks."""
        return self.catalogue.revisions(name)
