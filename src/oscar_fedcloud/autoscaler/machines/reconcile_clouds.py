# SPDX-License-Identifier: Apache-2.0
"""Reconcile the recorded machines with those that the clouds have.

This completes everything that was interrupted: requests whose answer was lost, machines that failed or vanished,
deletions that did not happen, and machines without a record. The step for one machine is chosen by a pure function,
``next_step``.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from oscar_fedcloud.autoscaler.clouds.protocol import Cloud, CloudMachine
from oscar_fedcloud.autoscaler.machines import launch, removal
from oscar_fedcloud.autoscaler.machines.context import ActionContext
from oscar_fedcloud.autoscaler.model import MachineView
from oscar_fedcloud.autoscaler.names import NODES, SUFFIX

log = structlog.get_logger(__name__)

_RETRY = 30.0  # s after which a deletion that did not happen is requested again
_ROOM = 60.0  # s between requests of the quota, unless a machine was removed
_SETTLE = 60.0  # s that a cloud may take to list an accepted machine

Step = Literal["nothing", "accepted", "ask_again", "fail", "gone", "remove_again"]


@dataclass(frozen=True, slots=True)
class MachineStep:
    """What to do about one machine."""

    step: Step
    reason: str = ""


def next_step(
    view: MachineView, found: CloudMachine | None, now: float, absent: float, missing_timeout: float
) -> MachineStep:
    """Return the step for a machine. found: as its cloud lists it. absent: s that its node or VM has been missing."""
    age = now - view.since
    if view.phase == "asked":
        return MachineStep("accepted") if found else MachineStep("ask_again")
    if view.phase in ("removing", "failed"):
        if found is None or found.state == "deleting":
            return MachineStep("gone")
        return (
            MachineStep("remove_again", view.reason)
            if age > _RETRY or view.phase == "failed"
            else MachineStep("nothing")
        )
    if view.phase == "stopped":
        return MachineStep("nothing") if found else MachineStep("gone")
    if found and found.state == "failed" and view.phase == "starting":
        return MachineStep("fail", found.reason or "the cloud reports that it failed")
    if view.phase == "starting":
        return (
            MachineStep("fail", "the cloud no longer has it") if not found and age > _SETTLE else MachineStep("nothing")
        )
    if absent > missing_timeout:
        return MachineStep("fail", f"its {'node' if found else 'VM'} is missing for {absent:.0f} s")
    return MachineStep("nothing")


class CloudReconciler:
    """Reconciles the machines of one cloud periodically."""

    def __init__(self, context: ActionContext, cloud: Cloud) -> None:
        self.context = context
        self.cloud = cloud
        self._absent: dict[str, float] = {}  # machine -> since when its node or VM is missing
        self._headroom_asked = 0.0

    async def run(self, nodes: Mapping[str, bool]) -> None:
        """Reconcile once. nodes: existing nodes -> whether they are Ready. Raises KubeError, CloudError."""
        views = self.context.machines.views().values()
        mine = [view for view in views if self._is_mine(view.name) and view.name not in self.context.busy]
        listing = await self.context.listing(self.cloud)
        found = await self._without_duplicates(listing)
        again: dict[str, list[str]] = defaultdict(list)
        for view in mine:
            if self.context.machines.get(view.name) != view or view.name in self.context.busy:
                continue  # another action changed it meanwhile
            what = next_step(
                view,
                found.get(view.name),
                self.context.clock(),
                self._absence(view, found, nodes),
                self.context.config.missing_timeout,
            )
            if what.step == "ask_again":
                again[view.pool].append(view.name)
            else:
                await self._settle(view, found.get(view.name), what)
        await self._ask_again(again)
        await self._adopt(found.values())

    async def refresh_headroom(self) -> None:
        """Read periodically what the quota allows for each pool; in between it is counted. Raises CloudError."""
        now = self.context.clock()
        if now - self._headroom_asked < _ROOM:
            return
        for pool in self.context.config.pools:
            if pool.cloud == self.cloud.name:
                headroom = await self.cloud.headroom(pool.template)
                self.context.health.set_headroom(pool.name, headroom.machines, headroom.reason)
        self._headroom_asked = now

    def _is_mine(self, machine: str) -> bool:
        return self.context.machines.cloud_of(machine) == self.cloud.name

    def _absence(self, view: MachineView, found: Mapping[str, CloudMachine], nodes: Mapping[str, bool]) -> float:
        """Return for how long a joined machine has had no node, or neither a VM nor a Ready node."""
        missing = view.name not in nodes or (view.name not in found and not nodes[view.name])
        if view.phase not in ("joined", "draining") or not missing:
            self._absent.pop(view.name, None)
            return 0.0
        now = self.context.clock()
        return now - self._absent.setdefault(view.name, now)

    async def _without_duplicates(self, listing: Sequence[CloudMachine]) -> dict[str, CloudMachine]:
        """Return the machines by name, and delete duplicates, which result from lost answers."""
        by_name: dict[str, list[CloudMachine]] = defaultdict(list)
        for machine in sorted(listing, key=lambda each: (each.state != "deleting", each.created, each.id)):
            by_name[machine.name].append(machine)
        surplus: list[CloudMachine] = []
        for name, machines in by_name.items():
            living = [each for each in machines if each.state != "deleting"]
            if len(living) > 1:
                node = await removal.node_of(self.context, name)
                surplus += duplicates_to_delete(living, None if node is None else addresses_of(node))
        if surplus:
            self.context.check_lead()
            log.warning("deleting duplicate machines", machines=[each.name for each in surplus])
            await self.cloud.delete([each.id for each in surplus])
        return {name: machines[-1] for name, machines in by_name.items()}

    async def _settle(self, view: MachineView, found: CloudMachine | None, what: MachineStep) -> None:
        context, name = self.context, view.name
        if what.step == "accepted" and found:
            await context.machines.set_phase(name, "starting", context.clock(), cloud_id=found.id)
        elif what.step == "fail":
            log.warning("machine failed", machine=name, reason=what.reason)
            if view.phase == "starting":
                context.health.failed(view.pool, context.clock(), what.reason)
            await context.machines.set_phase(name, "failed", context.clock(), reason=what.reason)
            context.sync_soon.set()
        elif what.step == "gone":
            await self._forget(view)
        elif what.step == "remove_again" and view.phase == "removing":
            await removal.remove(context, [name], what.reason)
        elif what.step == "remove_again":
            await removal.give_up(context, name, what.reason, blames_pool=False)
        elif found and found.id != view.cloud_id:
            await context.machines.set_cloud_id(name, found.id)

    async def _forget(self, view: MachineView) -> None:
        """Remove the records of a machine that the cloud does not have, unless its node is Ready after all."""
        node = await removal.node_of(self.context, view.name)
        if view.phase == "failed" and node is not None and removal.is_ready(node):
            await removal.recover(self.context, view.name, node)
            return
        await self.context.client.delete(NODES, view.name)
        await launch.drop(self.context, view.name)
        self._headroom_asked = 0.0
        log.info("machine is gone", machine=view.name, reason=view.reason)

    async def _ask_again(self, names: Mapping[str, list[str]]) -> None:
        """Request recorded machines again that do not exist because a request was interrupted or lost."""
        for pool_name, machines in names.items():
            pool = self.context.pool(pool_name)
            if pool is not None and pool.cloud == self.cloud.name:
                await launch.ask_again(self.context, pool, self.cloud, machines)
            else:
                await asyncio.gather(*(launch.drop(self.context, name) for name in machines))

    async def _adopt(self, found: Iterable[CloudMachine]) -> None:
        """Record machines that belong to this cluster by their name but have no record, so that they are managed."""
        for machine in found:
            if machine.state == "deleting" or self.context.machines.get(machine.name):
                continue
            if not is_ours(machine, self.context.cluster.name):
                continue
            now = self.context.clock()
            log.warning("adopting a machine without a record", machine=machine.name, cloud=self.cloud.name)
            view = MachineView(machine.name, machine.pool, "asked", now, now, machine.id)
            self.context.machines.expect(view, self.cloud.name)
            await self.context.machines.create(machine.name)
            await self.context.machines.set_phase(
                machine.name, "starting", now, reason="found in the cloud", cloud_id=machine.id
            )


def duplicates_to_delete(
    machines: Sequence[CloudMachine], node_addresses: Collection[str] | None
) -> list[CloudMachine]:
    """Return which of several live machines of one name, oldest first, are to be deleted.

    Without a node the newest machine stays, because its token is the valid one. With a node, the machine that is the
    node stays; if it cannot be identified, all stay.
    """
    if node_addresses is None:
        return list(machines[:-1])
    others = [each for each in machines if each.address not in node_addresses]
    return others if len(others) == len(machines) - 1 else []


def addresses_of(node: Mapping[str, Any]) -> frozenset[str]:
    """Return the addresses in a node's status."""
    return frozenset(each["address"] for each in node.get("status", {}).get("addresses", []))


def is_ours(machine: CloudMachine, cluster: str) -> bool:
    """Return whether the autoscaler of this cluster gave the machine its name."""
    return machine.name.startswith(f"{cluster}-{machine.pool}-") and len(machine.name) == (
        len(cluster) + len(machine.pool) + SUFFIX + 2
    )


async def reconcile_all(
    context: ActionContext, syncs: Mapping[str, CloudReconciler], nodes: Mapping[str, bool]
) -> None:
    """Reconcile all clouds once, independently of each other. Failures are retried the next time."""
    await asyncio.gather(*(_sync_one(context, sync, nodes) for sync in syncs.values()))


async def _sync_one(context: ActionContext, sync: CloudReconciler, nodes: Mapping[str, bool]) -> None:
    try:
        await sync.run(nodes)
        await sync.refresh_headroom()
    except removal.FAILURES as error:
        context.metrics.cloud_errors.labels(sync.cloud.name, "compare").inc()
        log.warning("cloud not reconciled", cloud=sync.cloud.name, error=str(error))
