# SPDX-License-Identifier: Apache-2.0
"""Runs a poller for each polled store. Pollers are started, updated and stopped with the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.intake import EventIntake
from oscar_fedcloud.catalogue.reconciler import Reconciler
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.runtime.tasks import Tasks
from oscar_fedcloud.sources.poll import Poller
from oscar_fedcloud.storage.stores import StoreRegistry


class Pollers:
    """Polls the inputs of the catalogue at stores that send no events. Belongs to the event loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        stores: StoreRegistry,
        ledger: Ledger,
        intake: EventIntake,
        reconciler: Reconciler,
        interval: float,
        tasks: Tasks,
    ) -> None:
        self.catalogue = catalogue
        self.stores = stores
        self.ledger = ledger
        self.intake = intake
        self.reconciler = reconciler
        self.interval = interval
        self.tasks = tasks
        self._pollers: dict[str, Poller] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def services_changed(self) -> None:
        """Poll exactly the inputs in the changed catalogue."""
        self.sync()

    def services_ready(self, services: Sequence[str]) -> None:
        """Also poll the inputs of these services, which now have their baseline."""
        self.sync()

    def sync(self) -> None:
        """Poll exactly the stores without events, at each the inputs that have their baseline."""
        polled = {name: provider for name, provider in self.stores.items() if provider.polled}
        for name in self._pollers.keys() - polled.keys():
            self._end(name)
        for name, provider in polled.items():
            poller = self._pollers.get(name)
            if poller is None:
                poller = Poller(provider, self.stores, self.ledger, self.intake, self.reconciler, self.interval)
                self._pollers[name] = poller
                self.tasks.start(_task(name), poller.run)
            elif poller.provider is not provider:
                poller.replace(provider)
            poller.watch(self._inputs(name))

    def _inputs(self, provider_id: str) -> list[Prefix]:
        """Return the inputs at a store that have their baseline."""
        entries = self.catalogue.entries.values()
        ready = {name for entry in entries for name, state in entry.inputs.items() if state.baselined}
        prefixes = self.catalogue.matcher.prefixes(provider_id)
        return [where for where in prefixes if f"{provider_id}/{where.bucket}/{where.prefix}" in ready]

    def _end(self, name: str) -> None:
        del self._pollers[name]
        ending = asyncio.create_task(self.tasks.end(_task(name)), name=f"end {_task(name)}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _task(name: str) -> str:
    return f"poll {name}"
