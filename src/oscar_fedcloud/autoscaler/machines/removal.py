# SPDX-License-Identifier: Apache-2.0
"""Remove machines: cordon, final check, drain, delete.

No function here removes a node on which work runs, and none removes anything while the API server or the cloud does
not answer: every step before ``cloud.delete`` raises then, and the machine stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import structlog

from oscar_fedcloud.autoscaler.clouds.protocol import Cloud, CloudError, CloudMachine
from oscar_fedcloud.autoscaler.cluster import drain
from oscar_fedcloud.autoscaler.cluster.nodes import view_of
from oscar_fedcloud.autoscaler.cluster.objects import Node
from oscar_fedcloud.autoscaler.machines import tokens
from oscar_fedcloud.autoscaler.machines.context import ActionContext, NotLeading
from oscar_fedcloud.autoscaler.machines.events import Event
from oscar_fedcloud.autoscaler.names import CORDONED, NODES
from oscar_fedcloud.kube import KubeError

log = structlog.get_logger(__name__)

FAILURES = (KubeError, CloudError, NotLeading)  # after these a machine stays as it is and the action is retried


async def cordon(context: ActionContext, machine: str, reason: str) -> None:
    """Make a node unschedulable. Raises KubeError."""
    await _schedulable(context, machine, False, reason)
    await context.machines.set_phase(machine, "draining", context.clock(), reason=reason)
    log.info("node cordoned", node=machine, reason=reason)


async def uncordon(context: ActionContext, machine: str, reason: str) -> None:
    """Make a node schedulable again that the autoscaler cordoned. Raises KubeError."""
    await _schedulable(context, machine, True, reason)
    await context.machines.set_phase(machine, "joined", context.clock(), reason=reason)
    log.info("node uncordoned", node=machine, reason=reason)


async def _schedulable(context: ActionContext, machine: str, schedulable: bool, reason: str) -> None:
    body = {
        "metadata": {"annotations": {CORDONED: None if schedulable else reason}},
        "spec": {"unschedulable": None if schedulable else True},
    }
    await context.client.patch(NODES, machine, body)


async def remove(context: ActionContext, machines: Sequence[str], reason: str) -> None:
    """Remove the machines whose cordoned nodes are empty or can be drained, in one batch for each cloud."""
    fit = await asyncio.gather(*(_emptied(context, machine) for machine in machines))
    by_cloud: dict[str, list[str]] = {}
    for machine, empty in zip(machines, fit, strict=True):
        if empty:
            by_cloud.setdefault(context.machines.cloud_of(machine), []).append(machine)
    await asyncio.gather(*(_remove_from(context, cloud, names, reason) for cloud, names in by_cloud.items()))


async def _emptied(context: ActionContext, machine: str) -> bool:
    """Drain a cordoned node. Returns whether nothing is left on it that would prevent its removal."""
    try:
        node = await node_of(context, machine)
        if node is not None and is_ready(node) and not node["spec"].get("unschedulable"):
            await _keep(context, machine, "the node was uncordoned")
            return False
        if node is not None and (why := view_of(msgspec.convert(node, Node)).protected):
            await _keep(context, machine, why)
            return False
        found = await drain.drain(context.client, machine, context.config.drain_timeout)
        if not found.empty:
            await _keep(context, machine, why_kept(found))
        return found.empty
    except FAILURES as error:
        log.warning("node not drained", node=machine, error=str(error))
        return False


def why_kept(found: drain.Contents) -> str:
    """Return why a node cannot be removed."""
    return found.blockers[0] if found.blockers else f"{len(found.evictable)} Pod(s) did not leave in time"


async def _keep(context: ActionContext, machine: str, why: str) -> None:
    """Cancel a removal."""
    view = context.machines.get(machine)
    context.metrics.kept.labels(view.pool if view else "").inc()
    await uncordon(context, machine, f"kept: {why}")


async def _remove_from(context: ActionContext, cloud_name: str, machines: Sequence[str], reason: str) -> None:
    """Delete or stop empty machines of one cloud in one request, after a final check of each."""
    cloud = context.clouds.get(cloud_name)
    if cloud is None:
        log.warning("machines not removed: their cloud is not configured", cloud=cloud_name)
        return
    try:
        listed = await context.listing(cloud)
        empty = [each for each in machines if (await drain.pods_on(context.client, each)).empty]
        stopping = [each for each in empty if _stops(context, each)]
        deleting = [each for each in empty if each not in stopping]
        for machine in empty:
            await context.machines.set_phase(machine, "removing", context.clock(), reason=reason)
        context.check_lead()
        await _tell(cloud, ids_of(listed, deleting), stop=False)
        await _tell(cloud, ids_of(listed, stopping), stop=True)
        for machine in empty:
            await _gone(context, machine, reason, stopped=machine in stopping)
    except FAILURES as error:
        context.metrics.cloud_errors.labels(cloud_name, "remove").inc()
        log.warning("machines not removed", cloud=cloud_name, machines=list(machines), error=str(error))
    context.sync_soon.set()


def _stops(context: ActionContext, machine: str) -> bool:
    view = context.machines.get(machine)
    pool = context.pool(view.pool) if view else None
    return bool(pool and pool.stop_instead)


def ids_of(listed: Sequence[CloudMachine], names: Collection[str]) -> list[str]:
    """Return the cloud's ids of the named machines that it has."""
    return [each.id for each in listed if each.name in names and each.state != "deleting"]


async def _tell(cloud: Cloud, ids: Sequence[str], *, stop: bool) -> None:
    if ids:
        await (cloud.stop(ids) if stop else cloud.delete(ids))


async def _gone(context: ActionContext, machine: str, reason: str, *, stopped: bool) -> None:
    """Delete the node after the cloud accepted the request. A stopped machine registers it again when it starts.

    The object of a deleted machine stays until the cloud no longer lists the machine.
    """
    await context.client.delete(NODES, machine)
    if stopped:
        await context.machines.set_phase(machine, "stopped", context.clock(), reason=reason)
    view = context.machines.get(machine)
    context.metrics.removed.labels(view.pool if view else "").inc()
    log.info("machine stopped" if stopped else "machine removed", machine=machine, reason=reason)


async def give_up(context: ActionContext, machine: str, reason: str, *, blames_pool: bool) -> None:
    """Delete a machine that did not become a node in time, unless it did meanwhile. Raises the errors in FAILURES."""
    view, cloud = context.machines.get(machine), context.cloud_of(machine)
    if view is None or cloud is None:
        return
    node = await node_of(context, machine)
    if node is not None and is_ready(node):
        await recover(context, machine, node)
        return
    ids = ids_of(await context.listing(cloud), [machine])
    if ids and node is not None and not (found := await drain.pods_on(context.client, machine)).empty:
        log.warning("machine not given up", machine=machine, error=why_kept(found))
        return
    await context.machines.set_phase(machine, "removing", context.clock(), reason=reason)
    context.check_lead()
    await _tell(cloud, ids, stop=False)
    await context.client.delete(NODES, machine)
    await tokens.revoke(context.client, machine)
    context.metrics.given_up.labels(view.pool).inc()
    log.warning("machine given up", machine=machine, reason=reason)
    if blames_pool:
        context.health.failed(view.pool, context.clock(), reason)
    context.sync_soon.set()


async def recover(context: ActionContext, machine: str, node: dict[str, Any]) -> None:
    """Keep a machine that was to be given up, because its node is Ready after all. Raises KubeError."""
    if CORDONED in node["metadata"].get("annotations", {}):
        await uncordon(context, machine, "Ready again")
    else:
        await joined(context, machine)


async def joined(context: ActionContext, machine: str) -> None:
    """Record that a machine's node is Ready for the first time, and revoke its token. Raises KubeError."""
    view = context.machines.get(machine)
    if view is None:
        return
    now = context.clock()
    took = max(0.0, now - view.asked)
    await context.machines.set_phase(machine, "joined", now)
    context.health.succeeded(view.pool)
    context.metrics.joined.labels(view.pool).inc()
    context.metrics.started.labels(view.pool).observe(took)
    context.history.started(now, view.pool, took)
    context.events.post(Event("Node", machine, "Normal", "Joined", f"Ready {took:.0f} s after it was requested"))
    log.info("machine joined", machine=machine, pool=view.pool, seconds=round(took, 1))
    await tokens.revoke(context.client, machine)


async def node_of(context: ActionContext, machine: str) -> dict[str, Any] | None:
    """Return the machine's node, or None if there is none. Raises KubeError."""
    try:
        return await context.client.get(NODES, machine)
    except KubeError as error:
        if error.status != 404:
            raise
        return None


def is_ready(node: dict[str, Any]) -> bool:
    """Return whether the node's Ready condition is true."""
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
