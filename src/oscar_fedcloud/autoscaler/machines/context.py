# SPDX-License-Identifier: Apache-2.0
"""The context of all actions: the cluster, the clouds, the machines, and whether this process may act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from oscar_fedcloud.autoscaler.clouds.protocol import Cloud, CloudError, CloudMachine, CloudUnavailable
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig, PoolConfig
from oscar_fedcloud.autoscaler.machines.events import EventPoster
from oscar_fedcloud.autoscaler.machines.machines import MachineStore
from oscar_fedcloud.autoscaler.machines.pool_health_store import PoolHealthStore
from oscar_fedcloud.autoscaler.machines.userdata import JoinTarget
from oscar_fedcloud.autoscaler.reporting.history import History
from oscar_fedcloud.autoscaler.reporting.metrics import Metrics
from oscar_fedcloud.kube import KubeClient

log = structlog.get_logger(__name__)


class NotLeading(Exception):
    """This process may not act: it does not hold the lease."""


@dataclass(eq=False)
class ActionContext:
    """Shared by launches, removals and the reconciliation with the clouds.

    Attributes:
        may_act: returns whether this process holds the lease
        wake: triggers a decision soon
        busy: machines that an action works on; no other action touches them
        away: clouds that did not answer last
        unopened: clouds that have never answered
        sync_soon: set to reconcile the clouds before the interval ends
    """

    client: KubeClient
    config: AutoscalerConfig
    cluster: JoinTarget
    clouds: Mapping[str, Cloud]
    machines: MachineStore
    health: PoolHealthStore
    events: EventPoster
    metrics: Metrics
    history: History
    may_act: Callable[[], bool]
    wake: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.time
    busy: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    unopened: set[str] = field(default_factory=set)
    sync_soon: asyncio.Event = field(default_factory=asyncio.Event)

    def check_lead(self) -> None:
        """Raise NotLeading unless this process may act. Called immediately before anything that cannot be undone."""
        if not self.may_act():
            raise NotLeading("the lease is no longer held")

    def pool(self, name: str) -> PoolConfig | None:
        """Return a pool of the current configuration, or None."""
        return self.config.pool(name)

    def cloud_of(self, machine: str) -> Cloud | None:
        """Return the cloud of a machine, or None if it is no longer configured."""
        return self.clouds.get(self.machines.cloud_of(machine))

    async def listing(self, cloud: Cloud) -> list[CloudMachine]:
        """Return the machines that a cloud has now. Raises CloudError; nothing is changed that cannot be listed."""
        try:
            if cloud.name in self.unopened:
                await cloud.open()
                self.unopened.discard(cloud.name)
            found = await cloud.machines()
        except CloudError:
            self.away.add(cloud.name)
            raise
        self.away.discard(cloud.name)
        return found

    async def open_clouds(self) -> None:
        """Connect to all clouds. One that does not answer is tried again later. Raises CloudError if one refuses."""
        for name, cloud in self.clouds.items():
            try:
                await cloud.open()
            except CloudUnavailable as error:
                log.warning("cloud does not answer, it will be tried again", cloud=name, error=str(error))
                self.away.add(name)
                self.unopened.add(name)
            except CloudError as error:
                raise CloudError(f"cloud {name}: {error}") from error

    async def close_clouds(self) -> None:
        """Close all connections to clouds."""
        for cloud in self.clouds.values():
            await cloud.close()
