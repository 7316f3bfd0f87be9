# SPDX-License-Identifier: Apache-2.0
"""The daemon's parts put together: what the API asks, and the tasks that live as long as the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import structlog

from oscar_fedcloud import __version__
from oscar_fedcloud.callbacks.receivers import networks_of
from oscar_fedcloud.callbacks.sender import Callbacks
from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.changes import Changes
from oscar_fedcloud.catalogue.entries import Store
from oscar_fedcloud.catalogue.listing import Lister
from oscar_fedcloud.catalogue.reconciler import Intervals, Reconciler, places_of
from oscar_fedcloud.catalogue.rules import document_rules
from oscar_fedcloud.config import Config, KubernetesConfig
from oscar_fedcloud.daemon.housekeeping import Housekeeping
from oscar_fedcloud.daemon.lineage import take_ledger
from oscar_fedcloud.daemon.tasks import Tasks, Work, bounded
from oscar_fedcloud.dispatch.backlog import BacklogRow, backlog_rows
from oscar_fedcloud.dispatch.dispatcher import Dispatcher, Policy, Site
from oscar_fedcloud.dispatch.specs import Specs
from oscar_fedcloud.domain.events import Recording, StorageEvent
from oscar_fedcloud.domain.services import Declared
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.invocations.invocations import Requests
from oscar_fedcloud.invocations.waits import Waits
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.runtime import unexpected
from oscar_fedcloud.sources.pollers import Pollers
from oscar_fedcloud.storage.ports import Provider
from oscar_fedcloud.storage.stores import Stores

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

_KEY_MAKERS = 4
_STEP = 5.0  # s that each step of a stop may take


class Core:
    """Everything behind the API. ``start`` it on the event loop, ``stop`` it there."""

    def __init__(
        self, config: Config, ledger: Ledger, providers: Mapping[str, Provider], launcher: Launcher, store: Store
    ) -> None:
        self.config = config
        self.version = __version__
        self.ledger = ledger
        self.providers = Stores(providers)  # and those that services bring along
        self.site = next(iter(providers.values()))  # the site's own store: logs and HTTP bodies lie there
        self.launcher = launcher
        self.tasks = Tasks()
        self.catalogue = Catalogue(store, config.max_depth, providers)
        self.lister = Lister(self.catalogue, ledger, self.providers, self.ingest)
        self.reconciler = Reconciler(
            self.catalogue,
            self.providers,
            self.lister,
            Intervals(config.reconcile_interval, config.listing_interval),
            self._on_ready,
        )
        self.specs = Specs(config, self.catalogue, self.providers)
        self.dispatcher = Dispatcher(
            ledger,
            launcher,
            Site(
                self._policy,
                self.specs.make,
                self._on_changed_input,
                self._on_end,
                self._is_current,
                self.specs.places,
            ),
            config.max_running,
            self.tasks.troubles,
        )
        self.callbacks = Callbacks(ledger, self._token, networks_of(config.callback_networks))
        self.pollers = Pollers(
            self.providers, ledger, self.ingest, config.poll_interval, self.tasks, self.bucket_missing
        )
        self.housekeeping = Housekeeping(config, ledger, self.providers, launcher, self.catalogue)
        self.changes = Changes(
            self.catalogue,
            self.reconciler,
            self.dispatcher,
            self.providers,
            self._adopt_stores,
            document_rules(config.callback_networks),
        )
        self.waits = Waits(ledger, self.catalogue, self.providers, self.dispatcher, launcher)
        self.requests = Requests(
            config, ledger, self.catalogue, self.providers, self.dispatcher, launcher, self.ingest, self.waits
        )

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the catalogue and start all tasks; the dispatcher takes up running Jobs first."""
        await self.catalogue.store.open()
        await asyncio.to_thread(self.catalogue.load)
        await take_ledger(self.ledger, self.config.ledger_url, self.catalogue, self.config.data)
        self.ledger.on_committed = self._on_committed
        self._adopt_stores()
        self.reconciler.recover()
        works: list[tuple[str, Work]] = [
            ("dispatch", self.dispatcher.dispatch),
            ("watch", self.dispatcher.watch),
            ("reconcile", self._prepare_and_reconcile),
            ("callbacks", self.callbacks.run),
            ("housekeeping", self.housekeeping.run),
        ]
        works += self.catalogue.store.tasks(self.changes)
        works += [(f"keys {number}", self.reconciler.make_keys) for number in range(_KEY_MAKERS)]
        for name, work in works:
            self.tasks.start(name, work)

    def _adopt_stores(self) -> None:
        """Have the stores that services read from and bring along themselves, and poll those that are polled."""
        self.providers.sync(self.catalogue.services.values())
        self.pollers.sync(self._polled)

    async def stop(self) -> None:
        """End all tasks, in bounded time; the log names what hangs. Jobs go on and are adopted by the next life."""
        await self.tasks.close(_STEP)
        await bounded("dispatcher", self.dispatcher.close(), _STEP)
        await bounded("callbacks", self.callbacks.close(), _STEP)
        await bounded("catalogue", self.catalogue.store.close(), _STEP)
        self.providers.close()
        await bounded("ledger", asyncio.to_thread(self.ledger.close), _STEP)

    async def _prepare_and_reconcile(self) -> None:
        await self.reconciler.prepare_site((self.config.internal_bucket, self.config.log_bucket))
        await self.reconciler.run()

    # -- the way of an event ---------------------------------------------------------------------------------------

    def ingest(self, events: list[StorageEvent]) -> asyncio.Future[Any]:
        """Match events and commit them; done when all are durable. The hot path: no task is made for a single event."""
        recordings = [self.catalogue.matcher.recording(event) for event in events]
        if len(recordings) == 1:
            return self.ledger.record_nowait(recordings[0])
        return asyncio.gather(*(self.ledger.record_nowait(recording) for recording in recordings))

    def _on_committed(self, recordings: list[Recording]) -> None:
        services = {name for recording in recordings for name in recording.services}
        if services:
            self.dispatcher.wake(services)

    def _on_ready(self, services: list[str]) -> None:
        self.dispatcher.wake(services)
        self.pollers.sync(self._polled)

    def _polled(self, provider_id: str) -> list[Prefix]:
        """Inputs that may be polled: those whose baseline stands."""
        ready = {
            key for entry in self.catalogue.entries.values() for key, state in entry.inputs.items() if state.baselined
        }
        prefixes = self.catalogue.matcher.prefixes(provider_id)
        return [where for where in prefixes if f"{provider_id}/{where.bucket}/{where.prefix}" in ready]

    async def _is_current(self, event: StorageEvent) -> bool:
        """Whether the store has exactly this revision now. A store that no service uses any more has none."""
        provider = self.providers.get(event.provider)
        if provider is None:
            return False
        found = await self.providers.run(event.provider, provider.stat, event.bucket, event.key)
        return found is not None and found.revision == event.revision

    def _on_changed_input(self, event: StorageEvent) -> None:
        self.reconciler.look(event.provider, Prefix(event.bucket, event.key))

    def _on_end(self) -> None:
        self.callbacks.wake.set()

    def _policy(self, name: str) -> Policy | None:
        found = self.catalogue.standing.get(name)
        if found is None or found.state != "ready":
            return None
        service = found.service
        return Policy(service.concurrency, service.retry, service.callback)

    def _token(self, name: str) -> str:
        found = self.catalogue.standing.get(name)
        return found.service.token if found else ""

    # -- services --------------------------------------------------------------------------------------------------

    def service(self, name: str) -> Declared | None:
        """A declared service, or None."""
        return self.catalogue.declared(name)

    def services(self) -> list[Declared]:
        """All declared services, by name."""
        return [found for name in sorted(self.catalogue.standing.copy()) if (found := self.catalogue.declared(name))]

    async def ask(self, store: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a blocking call to a store, in one of that store's threads. Raises ProviderError."""
        return await self.providers.run(store, call, *args, **kwargs)

    @property
    def tokens(self) -> Mapping[str, str]:
        """Service token -> service name, as it stands now."""
        return self.catalogue.tokens

    def bucket_missing(self, provider: str, bucket: str) -> None:
        """A bucket turned out to be missing: the services that use it are not ready until it is made again."""
        users = [name for name, one in self.catalogue.services.items() if (provider, bucket) in places_of(one)]
        names = [name for name in users if self.catalogue.states[name][0] == "ready"]
        for name in names:
            self.catalogue.set_state(name, "pending", f"bucket {bucket} is missing at {provider}, it is made again")
        if names:
            self.reconciler.changed(names)

    # -- standing --------------------------------------------------------------------------------------------------

    def readiness(self) -> dict[str, dict[str, Any]]:
        """Each part with whether it works."""
        parts = _parts("ledger", self._check_ledger) | {"tasks": self.tasks.health()}
        parts |= _parts("launcher", lambda: {"launcher": self.launcher.health()})
        parts |= _parts("catalogue", self.catalogue.health)
        return parts | _parts("stores", self.providers.health)

    def _check_ledger(self) -> dict[str, dict[str, Any]]:
        self.ledger.check()
        return {"ledger": {"ok": True, "detail": ""}}

    def counters(self) -> dict[str, int]:
        """What happened since start, beside what the ledger counts."""
        return {
            "found_by_listing": self.lister.found,
            "rules_written": self.reconciler.repairs,
            "unexpected_failures": unexpected.count(),
        }

    def task_restarts(self) -> Mapping[str, int]:
        """How often each long-lived task failed unexpectedly and was begun again."""
        return self.tasks.restarts()

    async def backlog(self) -> list[BacklogRow]:
        """Jobs that would start now if there were room, by what they ask for. Raises LedgerUnavailable."""
        launcher = self.config.launcher
        settings = launcher if isinstance(launcher, KubernetesConfig) else KubernetesConfig()
        return backlog_rows(await self.dispatcher.backlog(), self.catalogue.services, settings.gpu_resource)


def _parts(name: str, look: Callable[[], Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return how some parts stand; if that cannot be told, the part of this name does not work."""
    try:
        found = {str(part): {"ok": bool(one["ok"]), "detail": str(one["detail"])} for part, one in look().items()}
    except Exception as error:  # whatever it is, this part is not ready
        return {name: {"ok": False, "detail": str(error) or type(error).__name__}}
    return found
