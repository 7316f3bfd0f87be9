# SPDX-License-Identifier: Apache-2.0
"""The autoscaler at work: observe, wait a moment for what comes along, decide, act; and beside it compare the clouds.

Only the holder of the Lease decides. What it finds when it takes the lead stands in Kubernetes objects, so it goes on
where the one before it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from oscar_fedcloud.autoscaler.machines import reconcile_clouds as sync
from oscar_fedcloud.autoscaler.machines.context import ActionContext
from oscar_fedcloud.autoscaler.machines.events import POSTERS
from oscar_fedcloud.autoscaler.machines.executor import Executor
from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Decision, Pool
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.autoscaler.planning.recording import record
from oscar_fedcloud.autoscaler.reporting.sampler import Sampler
from oscar_fedcloud.kube import KubeError
from oscar_fedcloud.runtime.tasks import Tasks, Work, bounded

if TYPE_CHECKING:
    from oscar_fedcloud.autoscaler.cluster.observe import Observer
    from oscar_fedcloud.daemon.leader import Leader

log = structlog.get_logger(__name__)

_WINDOWS = 4  # how many batching windows a decision waits while changes come all the time
_REST, _LONGEST_REST = 40.0, 0.5  # a decision is followed by a rest of so many times what it took, at most s
_FLUSH = 30.0  # s between writes of the history
_PATIENCE = 5.0  # s that actions get to end when we stop
_STEP = 10.0  # s that each other step of a stop may take


class Controller:
    """One autoscaler. dry_run: decide and say so, but change nothing; no Lease is needed then.

    record_to: a file to which each decision that does something is appended with what it was made from.
    """

    def __init__(
        self,
        context: ActionContext,
        observer: Observer,
        leader: Leader,
        *,
        dry_run: bool = False,
        record_to: Path | None = None,
    ) -> None:
        self.context = context
        self.observer = observer
        self.leader = leader
        self.dry_run = dry_run
        self.record_to = record_to
        self.executor = Executor(context)
        self.sampler = Sampler(context.history, context.metrics, self._service_of)
        self.decision = Decision()
        self._loaded = False
        self._noticed = 0.0  # when the first of the changes in hand was noticed
        self._syncs: dict[str, sync.CloudReconciler] = {}
        self.tasks = Tasks()
        context.metrics.show_tasks(self.tasks)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin all tasks."""
        works: list[tuple[str, Work]] = [
            *self.observer.works(),
            *((f"events {number}", self.context.events.run) for number in range(POSTERS)),
            ("decide", self._decide_for_ever),
            ("compare", self._compare_for_ever),
            ("history", self._keep_history),
            ("lease", self._hold_lead),
        ]
        for name, work in works:
            self.tasks.start(name, work)

    async def stop(self) -> None:
        """End all tasks, then actions; only then give the lease back. Each step is bounded in time."""
        await self.tasks.close(_STEP)
        await bounded("actions", self.executor.stop(_PATIENCE), 2 * _PATIENCE)
        await bounded("lease", self.leader.release(), _STEP)
        await bounded("history", self._flush(), _STEP)

    async def _hold_lead(self) -> None:
        """Take part in the election. Should that fail, what we know of machines is read again at the next lead."""
        try:
            await self.leader.run()
        finally:
            self._loaded = False

    @property
    def leads(self) -> bool:
        """Whether we may act, and know all that is to be known for it."""
        return self._loaded and self.context.may_act()

    async def _take_lead(self) -> bool:
        """Whether we lead; at the beginning of it all that was written down is read."""
        if not self.context.may_act():
            self._loaded = False
        elif not self._loaded:
            await self.executor.stop(_PATIENCE)  # of an earlier lead
            try:
                await self.context.machines.load()
                await self.context.health.load()
            except KubeError as error:
                log.warning("machines not read, nothing is decided", error=error.message)
                return False
            self._loaded = True
            self.context.sync_soon.set()
        self.context.metrics.leading.set(self._loaded)
        return self._loaded

    # -- deciding --------------------------------------------------------------------------------------------------

    async def _decide_for_ever(self) -> None:
        while True:
            await self._wait_for_changes()
            if self.observer.ready and await self._take_lead():
                begun = time.perf_counter()
                self.step()
                await asyncio.sleep(min(_LONGEST_REST, _REST * (time.perf_counter() - begun)))

    async def _wait_for_changes(self) -> None:
        """Until something changed, and then as long as more comes along, but not for ever."""
        changed = self.observer.changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause()):
                await changed.wait()
        self._noticed = self.context.clock()
        for _ in range(_WINDOWS):
            changed.clear()
            await asyncio.sleep(self.context.config.batch_window)
            if not changed.is_set():
                break
        changed.clear()

    def _pause(self) -> float:
        """How long to wait when nothing changes: less while something is due, such as the end of a cordon's pause."""
        config = self.context.config
        due = any(view.phase == "draining" for view in self.context.machines.views().values())
        waiting_for_lead = not self._loaded
        return min(1.0, config.scan_interval) if due or waiting_for_lead else config.scan_interval

    def step(self) -> None:
        """Decide once and start what was decided."""
        snapshot, pools = self.snapshot(), self.pools()
        if self.context.config.external is None:  # else Cluster Autoscaler decides
            begun = time.perf_counter()
            self.decision = decide(snapshot, tuple(pools.values()), self.context.config.rules())
            self.context.metrics.decided.observe(time.perf_counter() - begun)
        self.sampler.note(snapshot, pools, self.observer.waits, self.observer.usage())
        self._say(snapshot)
        if not self.dry_run:
            self.executor.mark_joined(snapshot.nodes)
            self.executor.execute(self.decision, self._noticed)

    def snapshot(self) -> ClusterSnapshot:
        """How things stand, with our own machines as we know them."""
        context = self.context
        return self.observer.snapshot(
            context.clock(),
            machines=context.machines.views(),
            health=context.health.views(),
            clouds_away=frozenset(context.away),
        )

    def pools(self) -> Mapping[str, Pool]:
        """The pools as they are configured now."""
        return {pool.name: pool for pool in self.context.config.model_pools()}

    def _say(self, snapshot: ClusterSnapshot) -> None:
        """The decision in the log and, if wished, in the record."""
        decision = self.decision
        for order in decision.launches:
            log.info("decided", step="launch", pool=order.pool, count=order.count, reason=order.reason)
        for removal in decision.removals:
            if removal.machine not in self.context.busy:
                log.info("decided", step=removal.step, machine=removal.machine, reason=removal.reason)
        if self.record_to and (decision.launches or decision.removals or decision.refusals):
            pools, rules = tuple(self.pools().values()), self.context.config.rules()
            with self.record_to.open("ab") as file:
                file.write(record(snapshot, pools, rules, decision))

    def _service_of(self, pod: str) -> str:
        found = self.observer.pod(pod)
        return found.service if found else ""

    # -- beside it -------------------------------------------------------------------------------------------------

    async def _compare_for_ever(self) -> None:
        """Look at the clouds now and then, and at once when something is to be found out."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.context.config.cloud_interval):
                    await self.context.sync_soon.wait()
            self.context.sync_soon.clear()
            if self.leads and self.observer.ready and not self.dry_run:
                await self._compare()
            await asyncio.sleep(min(1.0, self.context.config.cloud_interval))  # a cloud is not asked all the time

    async def _compare(self) -> None:
        context = self.context
        self._syncs = {
            name: self._syncs[name]
            if name in self._syncs and self._syncs[name].cloud is cloud
            else sync.CloudReconciler(context, cloud)
            for name, cloud in context.clouds.items()
        }
        nodes = {name: node.ready for name, node in self.snapshot().nodes.items()}
        try:
            await context.machines.refresh(context.busy)
        except KubeError as error:
            log.warning("clouds not compared: the machines could not be read", error=error.message)
            return
        await sync.reconcile_all(context, self._syncs, nodes)
        for name, cloud in context.clouds.items():
            context.metrics.cloud_up.labels(name).set(name not in context.away)
            if (expires := cloud.expires()) is not None:
                context.metrics.credentials.labels(name).set(expires)
        try:
            await context.health.save()
        except KubeError as error:
            log.warning("health of pools not saved", error=error.message)
        self.observer.changed.set()

    async def _keep_history(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH)
            await self._flush()

    async def _flush(self) -> None:
        history, oldest = self.context.history, time.time() - self.context.config.report_days * 86400
        try:
            await asyncio.to_thread(history.write, history.take(), oldest)
        except sqlite3.Error as error:
            log.warning("history not written", file=history.path, error=str(error))
