# SPDX-License-Identifier: Apache-2.0
"""A poller for each store that is polled: they come, change and go with the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from oscar_fedcloud.daemon.tasks import Tasks
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.sources.poll import Known, Poller
from oscar_fedcloud.storage.stores import Stores


class Pollers:
    """Belongs to the event loop. on_missing: is told the provider and the name of a bucket that is missing."""

    def __init__(
        self,
        stores: Stores,
        ledger: Known,
        ingest: Callable[[list[StorageEvent]], Awaitable[None]],
        interval: float,
        tasks: Tasks,
        on_missing: Callable[[str, str], None] = lambda provider, bucket: None,
    ) -> None:
        self.stores = stores
        self.ledger = ledger
        self.ingest = ingest
        self.interval = interval
        self.tasks = tasks
        self.on_missing = on_missing
        self._pollers: dict[str, Poller] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def sync(self, inputs: Callable[[str], list[Prefix]]) -> None:
        """Poll exactly the stores that are polled. inputs: the prefixes to poll at a store."""
        polled = {name: provider for name, provider in self.stores.items() if provider.polled}
        for name in self._pollers.keys() - polled.keys():
            self._end(name)
        for name, provider in polled.items():
            poller = self._pollers.get(name)
            if poller is None:
                call = partial(self.stores.run, name)
                missing = partial(self.on_missing, name)
                poller = Poller(provider, self.ledger, self.ingest, self.interval, call, missing)
                self._pollers[name] = poller
                self.tasks.start(_task(name), poller.run)
            elif poller.provider is not provider:
                poller.replace(provider)
            poller.watch(inputs(name))

    def _end(self, name: str) -> None:
        del self._pollers[name]
        ending = asyncio.create_task(self.tasks.end(_task(name)), name=f"end {_task(name)}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _task(name: str) -> str:
    return f"poll {name}"
