# SPDX-License-Identifier: Apache-2.0
"""What all actions need: the cluster, the clouds, the machines as they stand, and whether we may act."""

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
    """We may not act any more: the lease could not be renewed."""


@dataclass(eq=False)
class ActionContext:
    """Shared by launches, removals and the comparison with the clouds.

    may_act: whether we lead. busy: machines that an action has in hand; no other one touches them. away: clouds that
    did not answer last. unopened: those that never did. sync_soon: set to have the clouds looked at before their time.
    wake: have a decision made soon.
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
        """Raises NotLeading: called last before anything that cannot be undone."""
        if not self.may_act():
            raise NotLeading("the lease is not ours any more")

    def pool(self, name: str) -> PoolConfig | None:
        """A pool of the configuration as it is now."""
        return self.config.pool(name)

    def cloud_of(self, machine: str) -> Cloud | None:
        """The cloud that holds a machine; None when the configuration does not have it any more."""
        return self.clouds.get(self.machines.cloud_of(machine))

    async def listing(self, cloud: Cloud) -> list[CloudMachine]:
        """What a cloud has now. Raises CloudError; what cannot be listed is not touched."""
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
        """Connect to all clouds; one that does not answer is tried again later. Raises CloudError when one refuses."""
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
        """Let go of all connections to clouds."""
        for cloud in self.clouds.values():
            await cloud.close()
