# SPDX-License-Identifier: Apache-2.0
"""Stands in for the autoscaler's observer: a picture of the cluster that the test paints."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from parts.memory_cloud import NOW

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Demand, MachineView, NodeView, PoolHealth, SchedulingGroup
from oscar_fedcloud.runtime.tasks import Work


class PaintedCluster:
    """Has the methods of Observer that the controller uses."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.ready = True
        self.troubles: dict[str, str] = {}
        self.demand: tuple[Demand, ...] = ()
        self.nodes: dict[str, NodeView] = {}
        self.waits: dict[str, float] = {}

    def snapshot(
        self,
        now: float,
        *,
        machines: Mapping[str, MachineView],
        health: Mapping[str, PoolHealth],
        clouds_away: frozenset[str] = frozenset(),
    ) -> ClusterSnapshot:
        return ClusterSnapshot(now, self.demand, dict(self.nodes), machines, health, clouds_away=clouds_away)

    def usage(self) -> dict[str, dict[str, int]]:
        return {}

    def pod(self, key: str) -> None:
        return None

    def works(self) -> list[tuple[str, Work]]:
        return [("watch pods", self.watch)]

    async def watch(self) -> None:
        await asyncio.Event().wait()

    def wait_for(self, count: int) -> None:
        """So many Pods of one processor wait."""
        pods = tuple(f"team/pod-{number}" for number in range(count))
        self.demand = (Demand(SchedulingGroup((("cpu", 1000),)), count, pods),)
        self.waits = dict.fromkeys(pods, NOW)
        self.changed.set()
