# SPDX-License-Identifier: Apache-2.0
"""Gathers the facts for ``wait_reasons``, all of them from memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.reconciler import key_stores_of
from oscar_fedcloud.dispatch.dispatcher import Dispatcher
from oscar_fedcloud.domain.runs import Run, RunState, job_name
from oscar_fedcloud.invocations.wait_reasons import ServiceFacts, SiteFacts, Wait, WaitingJobs, summary, waits_of
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.storage.stores import StoreRegistry

_EXPLAINED = 200  # queued jobs that are examined individually for the backlog


class Waits:
    """Wait reasons of jobs. Must be used on the event loop, except for ``queued``."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        providers: StoreRegistry,
        dispatcher: Dispatcher,
        launcher: Launcher,
    ) -> None:
        self.ledger = ledger
        self.catalogue = catalogue
        self.providers = providers
        self.dispatcher = dispatcher
        self.launcher = launcher

    def of(self, runs: Sequence[Run]) -> dict[str, Wait]:
        """Return why each of these runs is not running yet, by its id, without a query or request."""
        return waits_of(runs, self.facts())

    def progress(self, run: Run) -> str:
        """Return what delays a running job, or "" if neither the launcher nor the recording of its end is delayed."""
        if run.state is not RunState.RUNNING:
            return ""
        return self.dispatcher.ends.unrecorded.get(_job(run)) or self.launcher.progress(_job(run))

    def queued(self) -> list[WaitingJobs]:
        """Return the queued jobs by service and cause. Blocks. Raises LedgerUnavailable."""
        counts = {name: count.get(RunState.QUEUED, 0) for name, count in self.ledger.counts().items()}
        runs = self.ledger.runs(states=[RunState.QUEUED], limit=_EXPLAINED) if any(counts.values()) else []
        facts = self.facts()
        return summary(runs, waits_of(runs, facts), counts, facts)

    def facts(self) -> SiteFacts:
        """Return the facts that waiting depends on now."""
        launching = self.dispatcher.launching()
        return SiteFacts(
            now=time.time(),
            running=self.dispatcher.running.total(),
            max_running=self.dispatcher.max_running,
            service=functools.cache(self._service),
            holder=self.dispatcher.holder,
            launching=lambda run: _job(run) in launching,
            told=self._told,
            ledger=self.dispatcher.ledger_trouble,
        )

    def _told(self, run: Run) -> tuple[str, str] | None:
        return self.launcher.waiting(_job(run))

    def _service(self, name: str) -> ServiceFacts:
        service, entry = self.catalogue.services.get(name), self.catalogue.entries.get(name)
        state, reason = self.catalogue.states.get(name, ("", ""))
        if service is None or entry is None:
            return ServiceFacts(name, "")
        listed = all(one.baselined for one in entry.inputs.values())
        keys_of = sorted(key_stores_of(service, self.providers)) if state == "pending" and listed else ()
        running = self.dispatcher.running[name]
        return ServiceFacts(name, state, reason, keys_of, running, service.concurrency, service.retry.attempts)


def _job(run: Run) -> str:
    return job_name(run.service, run.id, run.attempts)
