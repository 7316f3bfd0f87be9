# SPDX-License-Identifier: Apache-2.0
"""Request machines from clouds.

Each machine is recorded before its cloud is called. If anything fails in between, the next reconciliation with the
cloud determines the outcome: a restart loses nothing, and since names are unique and chosen here, duplicates nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from oscar_fedcloud.autoscaler.clouds.protocol import Cloud, CloudError, CloudUnavailable, MachineRequest
from oscar_fedcloud.autoscaler.config.settings import PoolConfig
from oscar_fedcloud.autoscaler.machines import tokens
from oscar_fedcloud.autoscaler.machines.context import ActionContext, NotLeading
from oscar_fedcloud.autoscaler.machines.events import Event
from oscar_fedcloud.autoscaler.machines.userdata import user_data
from oscar_fedcloud.autoscaler.model import Launch, MachineView
from oscar_fedcloud.autoscaler.names import machine_name
from oscar_fedcloud.kube import KubeError

log = structlog.get_logger(__name__)

_TOKEN_MARGIN = 120.0  # s that a token is valid beyond the startup timeout


@dataclass(frozen=True, slots=True)
class Batch:
    """Machines of one pool that are requested together."""

    pool: PoolConfig
    cloud: Cloud
    names: tuple[str, ...]
    resumed: tuple[str, ...] = ()  # stopped machines that are started again
    reason: str = ""
    pods: tuple[str, ...] = ()
    again: bool = False  # whether they were requested before with an unknown outcome
    noticed: float | None = None  # when the cause was observed (s since the epoch)


def prepare(context: ActionContext, launch: Launch, noticed: float | None = None) -> Batch | None:
    """Count the machines of a launch from now on. Returns None if its pool or cloud no longer exists."""
    pool = context.pool(launch.pool)
    cloud = context.clouds.get(pool.cloud) if pool else None
    if pool is None or cloud is None:
        return None
    resumed = tuple(name for name in launch.resume if name not in context.busy)
    names = tuple(machine_name(context.cluster.name, pool.name) for _ in range(launch.count - len(launch.resume)))
    now = context.clock()
    for name in names:
        context.machines.expect(MachineView(name, pool.name, "asked", now, now), cloud.name)
    context.health.consume_headroom(
        (each.name for each in context.config.pools if each.cloud == cloud.name), len(names)
    )
    context.busy.update(names, resumed)
    return Batch(pool, cloud, names, resumed, launch.reason, launch.pods, noticed=noticed)


async def execute(context: ActionContext, batch: Batch) -> None:
    """Record the machines of a batch and request them from its cloud, in one call."""
    try:
        await asyncio.gather(_create(context, batch), _resume(context, batch))
    finally:
        context.busy.difference_update(batch.names, batch.resumed)


async def ask_again(context: ActionContext, pool: PoolConfig, cloud: Cloud, names: Sequence[str]) -> None:
    """Request machines again that are recorded but that the cloud does not have."""
    context.busy.update(names)
    try:
        reason = "the cloud does not have the requested machine"
        given = await asyncio.gather(*(_token(context, pool, name) for name in names))
        batch = Batch(pool, cloud, tuple(names), reason=reason, again=True)
        await _ask(context, batch, dict(zip(names, given, strict=True)))
    finally:
        context.busy.difference_update(names)


async def _create(context: ActionContext, batch: Batch) -> None:
    if batch.names:
        given = await asyncio.gather(*(_write_down(context, batch.pool, name) for name in batch.names))
        await _ask(context, batch, dict(zip(batch.names, given, strict=True)))


async def _write_down(context: ActionContext, pool: PoolConfig, machine: str) -> str:
    """Write a machine's object and its token concurrently. Returns "" if the machine is not to be requested now."""
    try:
        token, _ = await asyncio.gather(_token(context, pool, machine), context.machines.create(machine))
    except KubeError as error:
        log.warning("machine not requested: it could not be recorded", machine=machine, error=error.message)
        return ""
    return token


async def _ask(context: ActionContext, batch: Batch, given: Mapping[str, str]) -> None:
    """Request the machines of the batch that are recorded and have a token."""
    requests = [_request(context, batch, name, token) for name, token in given.items() if token]
    if not requests:
        return
    try:
        context.check_lead()
        if batch.noticed is not None:
            context.metrics.reacted.observe(max(0.0, context.clock() - batch.noticed))
        log.info(
            "asking for machines", pool=batch.pool.name, machines=[each.name for each in requests], reason=batch.reason
        )
        refused = await batch.cloud.create(requests)
    except NotLeading as error:
        log.warning("machines not requested", pool=batch.pool.name, error=str(error))
        return
    except CloudUnavailable as error:
        _count_error(context, batch, "create", error)
        context.away.add(batch.cloud.name)
        context.sync_soon.set()  # reconciliation determines the outcome
        return
    except CloudError as error:
        _count_error(context, batch, "create", error)
        refused = {each.name: str(error) for each in requests}
    await _record_answer(context, batch, [each.name for each in requests], refused)


def _request(context: ActionContext, batch: Batch, machine: str, token: str) -> MachineRequest:
    data = user_data(context.cluster, context.config.join, batch.pool, machine, token)
    return MachineRequest(machine, batch.pool.name, batch.pool.template, data, again=batch.again)


async def _token(context: ActionContext, pool: PoolConfig, machine: str) -> str:
    """Return a token for the machine, or "" if the API server did not answer; the machine stays recorded."""
    try:
        return await tokens.issue(context.client, machine, context.clock() + pool.startup_timeout + _TOKEN_MARGIN)
    except KubeError as error:
        log.warning("machine not requested: no token could be made", machine=machine, error=error.message)
        return ""


async def _record_answer(
    context: ActionContext, batch: Batch, names: Sequence[str], refused: Mapping[str, str]
) -> None:
    """Record which machines the cloud accepted and which it refused."""
    pool, taken = batch.pool.name, [name for name in names if name not in refused]
    context.metrics.launched.labels(pool).inc(len(taken))
    if refused:
        context.metrics.refused.labels(pool).inc(len(refused))
        context.health.failed(pool, context.clock(), next(iter(refused.values())))
    if taken:
        message = f"pool {pool}: {len(taken)} machine(s) requested: {batch.reason}"
        for pod in batch.pods:
            context.events.post(Event("Pod", pod, "Normal", "TriggeredScaleUp", message))
    now = context.clock()
    changes = [context.machines.set_phase(name, "starting", now) for name in taken]
    changes += [drop(context, name) for name in refused]
    for error in await asyncio.gather(*changes, return_exceptions=True):
        if error is not None:  # the next reconciliation repairs it
            log.warning("the outcome of a machine's request could not be recorded", error=str(error))


async def drop(context: ActionContext, machine: str) -> None:
    """Remove the records of a machine that its cloud does not have. Raises KubeError."""
    await tokens.revoke(context.client, machine)
    await context.machines.delete(machine)


async def _resume(context: ActionContext, batch: Batch) -> None:
    """Start stopped machines again."""
    if not batch.resumed:
        return
    try:
        listed = {each.name: each.id for each in await context.listing(batch.cloud)}
        found = [name for name in batch.resumed if name in listed]
        for name in found:
            await context.machines.set_phase(name, "starting", context.clock())
        context.check_lead()
        log.info("starting stopped machines", pool=batch.pool.name, machines=found, reason=batch.reason)
        await batch.cloud.start([listed[name] for name in found])
        context.metrics.launched.labels(batch.pool.name).inc(len(found))
    except (CloudError, KubeError, NotLeading) as error:
        _count_error(context, batch, "start", error)
        context.sync_soon.set()


def _count_error(context: ActionContext, batch: Batch, call: str, error: Exception) -> None:
    context.metrics.cloud_errors.labels(batch.cloud.name, call).inc()
    log.warning("cloud call failed", cloud=batch.cloud.name, pool=batch.pool.name, call=call, error=str(error))
