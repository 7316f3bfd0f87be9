# SPDX-License-Identifier: Apache-2.0
"""Removes what is too old: history of the ledger, garbage of the launcher, bodies and logs that no job names any more.

An object goes by two conditions: it is old, and no run in the ledger names it. Runs leave the ledger by age, too, but
only some time after they ended. So what a job needs that waits or may be repeated stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import islice

import structlog

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.config import Config
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.launchers.runner.environment import job_of_path
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.stores import StoreRegistry

log = structlog.get_logger(__name__)

_INTERVAL = 3600.0  # s
_CHUNK = 1000  # objects


class Housekeeping:
    """``run`` lives as long as the daemon. Each piece of work is done whatever became of the others."""

    def __init__(
        self, config: Config, ledger: Ledger, stores: StoreRegistry, launcher: Launcher, catalogue: Catalogue
    ) -> None:
        self.config = config
        self.ledger = ledger
        self.stores = stores
        self.launcher = launcher
        self.catalogue = catalogue

    async def run(self) -> None:
        """Keep house for ever."""
        while True:
            await self.once()
            await asyncio.sleep(_INTERVAL)

    async def once(self) -> None:
        """Remove what is too old now."""
        oldest = time.time() - self.config.retention
        for what, work in (
            ("history", lambda: asyncio.to_thread(self.ledger.prune, oldest)),
            ("garbage of the launcher", self._collect),
            ("bodies of requests", lambda: self._clear(self.config.internal_bucket, oldest, self._named_inputs)),
            ("logs", lambda: self._clear(self.config.log_bucket, oldest, self._named_logs)),
        ):
            await _guarded(what, work)

    async def _collect(self) -> None:
        entries = self.catalogue.entries
        await self.launcher.collect({name: str(entry.revision) for name, entry in entries.items()})

    async def _clear(self, bucket: str, oldest: float, named: Callable[[list[str]], set[str]]) -> None:
        """Delete the objects of a bucket that are older and that ``named`` does not give back."""
        site = self.stores.site_store
        keys = await self.stores.run(site.id, lambda: iter(site.older(bucket, oldest)))
        while some := await self.stores.run(site.id, lambda: list(islice(keys, _CHUNK))):
            needed = await asyncio.to_thread(named, some)
            if doomed := [key for key in some if key not in needed]:
                removed = await self.stores.run(site.id, site.remove_many, bucket, doomed)
                log.info("old objects removed", bucket=bucket, objects=removed, left=len(some) - removed)

    def _named_inputs(self, keys: list[str]) -> set[str]:
        return self.ledger.named_inputs(self.stores.site_store.id, self.config.internal_bucket, keys)

    def _named_logs(self, keys: list[str]) -> set[str]:
        jobs = {key: job_of_path(key) for key in keys}
        known = self.ledger.known_jobs([job for job in jobs.values() if job])
        return {key for key, job in jobs.items() if job in known}


async def _guarded(what: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except (LedgerUnavailable, StoreError) as error:
        log.warning("old things were not removed, it will be tried again", what=what, error=str(error))
    except Exception as error:  # the next piece is another one, and the next time comes
        report(log, "old things were not removed, it will be tried again", error, what=what)
