# SPDX-License-Identifier: Apache-2.0
"""Assemble the autoscaler for the daemon, and read the cluster once for the command line."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.cluster.backlog import InvokerAnswer
from oscar_fedcloud.autoscaler.cluster.observe import Observer
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig
from oscar_fedcloud.autoscaler.controller import Controller
from oscar_fedcloud.autoscaler.machines.context import ActionContext
from oscar_fedcloud.autoscaler.machines.events import Event, EventPoster
from oscar_fedcloud.autoscaler.machines.machines import MachineStore
from oscar_fedcloud.autoscaler.machines.pool_health_store import PoolHealthStore
from oscar_fedcloud.autoscaler.machines.userdata import find_cluster
from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Pool, Rules
from oscar_fedcloud.autoscaler.names import MANAGER
from oscar_fedcloud.autoscaler.reporting.history import History
from oscar_fedcloud.autoscaler.reporting.metrics import Metrics
from oscar_fedcloud.config import ConfigError
from oscar_fedcloud.daemon.leader import AlwaysLeader, Leader
from oscar_fedcloud.kube import KubeClient, KubeUnavailable
from oscar_fedcloud.kube.lease import Lease
from oscar_fedcloud.runtime.tasks import Tasks

_READ_TIMEOUT = 30.0  # s to read all lists of the cluster


@asynccontextmanager
async def open_controller(
    config: AutoscalerConfig, *, dry_run: bool, record_to: Path | None
) -> AsyncIterator[Controller]:
    """Make the autoscaler of a configuration and open its clouds; close all connections at the end.

    Raises ConfigError, CloudError.
    """
    async with AsyncExitStack() as stack:
        client = KubeClient(config.kubeconfig)
        stack.push_async_callback(client.close)
        leader: Leader = AlwaysLeader()
        if not dry_run:
            own = KubeClient(config.kubeconfig, connections=1)  # a burst of other requests must not cost us the lease
            stack.push_async_callback(own.close)
            identity = f"{socket.gethostname()}:{config.data_dir}"
            leader = Lease(own, config.namespace, MANAGER, identity, config.lease_duration)
        controller = await make_controller(config, client, leader, dry_run=dry_run, record_to=record_to)
        stack.push_async_callback(controller.context.close_clouds)
        await controller.context.open_clouds()
        yield controller


async def make_controller(
    config: AutoscalerConfig,
    client: KubeClient,
    leader: Leader,
    *,
    dry_run: bool = False,
    record_to: Path | None = None,
) -> Controller:
    """The autoscaler of a configuration; its clouds are not open yet. Raises ConfigError."""
    observer = make_observer(config, client)

    def uid_of(event: Event) -> str:
        found = observer.pod(event.about) if event.kind == "Pod" else None
        return found.uid if found else ""

    context = ActionContext(
        client=client,
        config=config,
        cluster=await find_cluster(config),
        clouds={name: build(name, config.cluster, settings) for name, settings in config.clouds.items()},
        machines=MachineStore(client),
        health=PoolHealthStore(client, config.namespace),
        events=EventPoster(client, uid_of),
        metrics=Metrics(),
        history=History(await asyncio.to_thread(_history_file, config)),
        may_act=lambda: leader.leads,
        wake=observer.changed.set,
    )
    return Controller(context, observer, leader, dry_run=dry_run, record_to=record_to)


def _history_file(config: AutoscalerConfig) -> Path:
    folder = Path(config.data_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"data_dir is {config.data_dir}, which cannot be written to")
    return folder / "history.db"


def make_observer(config: AutoscalerConfig, client: KubeClient) -> Observer:
    """Create the observer of the cluster and the invoker. Raises ConfigError."""
    given = config.invoker
    return Observer(client, invoker=InvokerAnswer(given.url, given.authorization, given.verify) if given else None)


@dataclass(frozen=True, slots=True)
class Inspection:
    """A snapshot, and the settings for decisions about it."""

    snapshot: ClusterSnapshot
    pools: Sequence[Pool]
    rules: Rules


async def inspect(config: AutoscalerConfig) -> Inspection:
    """Read the cluster once without changing anything. Raises ConfigError, KubeError."""
    client = KubeClient(config.kubeconfig)
    try:
        observer = make_observer(config, client)
        machines, health = MachineStore(client), PoolHealthStore(client, config.namespace)
        await machines.load()
        await health.load()
        tasks = Tasks()
        for name, work in observer.works():
            tasks.start(name, work)
        try:
            await _until_ready(observer)
            snapshot = observer.snapshot(time.time(), machines=machines.views(), health=health.views())
        finally:
            await tasks.close()
        return Inspection(snapshot, config.model_pools(), config.rules())
    finally:
        await client.close()


async def _until_ready(observer: Observer) -> None:
    try:
        async with asyncio.timeout(_READ_TIMEOUT):
            while not observer.ready:  # noqa: ASYNC110  read once, by a command
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        why = "; ".join(f"{what}: {trouble}" for what, trouble in observer.troubles.items())
        text = f"the cluster could not be read in {_READ_TIMEOUT:g} s{': ' if why else ''}{why}"
        raise KubeUnavailable(0, "NoAnswer", text) from error
