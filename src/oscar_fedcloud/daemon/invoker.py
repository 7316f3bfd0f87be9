# SPDX-License-Identifier: Apache-2.0
"""The invoker: its parts put together, and their life from start to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from oscar_fedcloud import __version__
from oscar_fedcloud.callbacks.sender import Callbacks
from oscar_fedcloud.catalogue.callback_addresses import networks_of
from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.changes import Changes
from oscar_fedcloud.catalogue.entries import ServiceRepository
from oscar_fedcloud.catalogue.followed import FollowedRepository
from oscar_fedcloud.catalogue.intake import EventIntake
from oscar_fedcloud.catalogue.listing import Lister
from oscar_fedcloud.catalogue.reconciler import Intervals, Reconciler
from oscar_fedcloud.catalogue.rules import document_rules
from oscar_fedcloud.config import Config, KubernetesConfig
from oscar_fedcloud.daemon.dispatcher_ports import InvokerPorts
from oscar_fedcloud.daemon.housekeeping import Housekeeping
from oscar_fedcloud.daemon.lineage import take_ledger
from oscar_fedcloud.dispatch.backlog import BacklogRow, backlog_rows
from oscar_fedcloud.dispatch.dispatcher import Dispatcher
from oscar_fedcloud.dispatch.specs import Specs
from oscar_fedcloud.invocations.invocations import Invocations
from oscar_fedcloud.invocations.waits import Waits
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.runtime import unexpected
from oscar_fedcloud.runtime.tasks import Tasks, Work, bounded
from oscar_fedcloud.sources.pollers import Pollers
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.stores import StoreRegistry

_KEY_MAKERS = 4
_STEP = 5.0  # s that each step of a stop may take


class Invoker:
    """Everything behind the API. ``start`` it on the event loop, ``stop`` it there."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        providers: Mapping[str, ObjectStore],
        launcher: Launcher,
        repository: ServiceRepository,
    ) -> None:
        self.config = config
        self.version = __version__
        self.ledger = ledger
        self.launcher = launcher
        self.tasks = Tasks()
        self.stores = StoreRegistry(providers, config.site_store_id)
        self.catalogue = Catalogue(repository, config.max_depth, providers)
        self.intake = EventIntake(self.catalogue, ledger)
        self.lister = Lister(self.catalogue, ledger, self.stores, self.intake)
        intervals = Intervals(config.reconcile_interval, config.listing_interval)
        self.reconciler = Reconciler(self.catalogue, self.stores, self.lister, intervals)
        self.callbacks = Callbacks(ledger, self.catalogue, networks_of(config.callback_networks))
        ports = InvokerPorts(
            self.catalogue,
            self.stores,
            Specs(config, self.catalogue, self.stores),
            self.reconciler,
            self.callbacks,
        )
        self.dispatcher = Dispatcher(ledger, launcher, ports, config.max_running, self.tasks.troubles)
        self.pollers = Pollers(
            self.catalogue, self.stores, ledger, self.intake, self.reconciler, config.poll_interval, self.tasks
        )
        self.housekeeping = Housekeeping(config, ledger, self.stores, launcher, self.catalogue)
        self.changes = Changes(
            self.catalogue,
            self.reconciler,
            self.dispatcher,
            self.stores,
            document_rules(config.callback_networks),
        )
        self.waits = Waits(ledger, self.catalogue, self.stores, self.dispatcher, launcher)
        self.invocations = Invocations(
            config, ledger, self.catalogue, self.stores, self.dispatcher, launcher, self.intake, self.waits
        )
        ledger.listener = self.dispatcher
        self.reconciler.add_listener(self.dispatcher)
        self.reconciler.add_listener(self.pollers)
        self.changes.add_listener(self.pollers)

    async def start(self) -> None:
        """Load the catalogue and start all tasks. The dispatcher adopts running Jobs first."""
        await self.catalogue.repository.open()
        await asyncio.to_thread(self.catalogue.load)
        await take_ledger(self.ledger, self.config.ledger_url, self.catalogue, self.config.data)
        self.stores.sync(self.catalogue.services.values())
        self.pollers.sync()
        self.reconciler.recover()
        works: list[tuple[str, Work]] = [
            ("dispatch", self.dispatcher.dispatch),
            ("watch", self.dispatcher.watch),
            ("reconcile", self._prepare_and_reconcile),
            ("callbacks", self.callbacks.run),
            ("housekeeping", self.housekeeping.run),
        ]
        if isinstance(self.catalogue.repository, FollowedRepository):
            works += self.catalogue.repository.tasks(self.changes)
        works += [(f"keys {number}", self.reconciler.make_keys) for number in range(_KEY_MAKERS)]
        for name, work in works:
            self.tasks.start(name, work)

    async def stop(self) -> None:
        """End all tasks in bounded time. The log names what hangs. Jobs go on, and the next start adopts them."""
        await self.tasks.close(_STEP)
        await bounded("dispatcher", self.dispatcher.close(), _STEP)
        await bounded("callbacks", self.callbacks.close(), _STEP)
        await bounded("catalogue", self.catalogue.repository.close(), _STEP)
        self.stores.close()
        await bounded("ledger", asyncio.to_thread(self.ledger.close), _STEP)

    async def _prepare_and_reconcile(self) -> None:
        await self.reconciler.prepare_site((self.config.internal_bucket, self.config.log_bucket))
        await self.reconciler.run()

    def readiness(self) -> dict[str, dict[str, Any]]:
        """Return each part with whether it works. Blocks."""
        parts = _parts("ledger", self._check_ledger) | {"tasks": self.tasks.health()}
        parts |= _parts("launcher", lambda: {"launcher": self.launcher.health()})
        parts |= _parts("catalogue", self.catalogue.health)
        return parts | _parts("stores", self.stores.health)

    def _check_ledger(self) -> dict[str, dict[str, Any]]:
        self.ledger.check()
        return {"ledger": {"ok": True, "detail": ""}}

    def counters(self) -> dict[str, int]:
        """Return what happened since the start, besides what the ledger counts."""
        return {
            "found_by_listing": self.lister.found,
            "rules_written": self.reconciler.repairs,
            "unexpected_failures": unexpected.count(),
        }

    async def backlog(self) -> list[BacklogRow]:
        """Return the Jobs that would start now if there were room, by what they ask for. Raises LedgerUnavailable."""
        launcher = self.config.launcher
        settings = launcher if isinstance(launcher, KubernetesConfig) else KubernetesConfig()
        return backlog_rows(await self.dispatcher.backlog(), self.catalogue.services, settings.gpu_resource)


def _parts(name: str, probe: Callable[[], Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the parts that a probe tells of; if it fails, the part of this name does not work."""
    try:
        found = {str(part): {"ok": bool(one["ok"]), "detail": str(one["detail"])} for part, one in probe().items()}
    except Exception as error:  # whatever it is, this part is not ready
        return {name: {"ok": False, "detail": str(error) or type(error).__name__}}
    return found
