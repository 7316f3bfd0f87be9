# SPDX-License-Identifier: Apache-2.0
"""The services and stores of the invoker as its dispatcher needs them."""

from __future__ import annotations

from collections.abc import Sequence

from oscar_fedcloud.callbacks.sender import Callbacks
from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.reconciler import Reconciler
from oscar_fedcloud.dispatch.policy import Policy
from oscar_fedcloud.dispatch.specs import Specs
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Attempt, OutputPlace, Run, StoredObject
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.launchers.port import JobSpec
from oscar_fedcloud.storage.stores import StoreRegistry


class InvokerPorts:
    """Implements ``dispatch.ports.DispatcherPorts``."""

    def __init__(
        self, catalogue: Catalogue, stores: StoreRegistry, specs: Specs, reconciler: Reconciler, callbacks: Callbacks
    ) -> None:
        self.catalogue = catalogue
        self.stores = stores
        self.specs = specs
        self.reconciler = reconciler
        self.callbacks = callbacks

    def policy(self, service: str) -> Policy | None:
        """Return the policy of a service that is ready, else None."""
        found = self.catalogue.declarations.get(service)
        if found is None or found.state != "ready":
            return None
        return Policy(found.service.concurrency, found.service.retry, found.service.callback)

    def spec(self, run: Run, attempt: int, written: Sequence[StoredObject]) -> JobSpec:
        """Return the Job of an attempt of a run that has written these objects before. Raises LaunchError."""
        return self.specs.make(run, attempt, written)

    def places(self, run: Run, attempt: Attempt) -> tuple[OutputPlace, ...]:
        """Return where an attempt may have written, or () if nobody knows any more."""
        return self.specs.places(run, attempt)

    async def is_current(self, event: StorageEvent) -> bool:
        """Return whether the store has exactly this revision now. A store that no service uses any more has none."""
        provider = self.stores.get(event.provider)
        if provider is None:
            return False
        found = await self.stores.run(event.provider, provider.stat, event.bucket, event.key)
        return found is not None and found.revision == event.revision

    def input_changed(self, event: StorageEvent) -> None:
        """List the object's prefix, which finds its newer revision."""
        self.reconciler.relist(event.provider, Prefix(event.bucket, event.key))

    def run_ended(self) -> None:
        """Send the callbacks that are due."""
        self.callbacks.wake.set()
