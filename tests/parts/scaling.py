# SPDX-License-Identifier: Apache-2.0
"""Small things that decisions are made from, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from oscar_fedcloud.autoscaler.model import (
    ClusterSnapshot,
    Demand,
    MachinePhase,
    MachineView,
    NodeView,
    Pool,
    SchedulingGroup,
)

NOW = 1_800_000_000.0
GIB = 2**30


def shape(cpu: int = 1000, memory: int = GIB, gpus: int = 0, **fields: Any) -> SchedulingGroup:
    """A Pod that asks for millicores and bytes."""
    requests = {"cpu": cpu, "memory": memory, "pods": 1, **({"nvidia.com/gpu": gpus} if gpus else {})}
    return SchedulingGroup(tuple(sorted(requests.items())), **fields)


def demand(count: int, wanted: SchedulingGroup | None = None, name: str = "p", **fields: Any) -> Demand:
    """So many Pods that found no node."""
    return Demand(wanted or shape(), count, tuple(f"ns/{name}-{number:05}" for number in range(count)), **fields)


def pool(name: str = "small", cpu: int = 4000, memory: int = 16 * GIB, **fields: Any) -> Pool:
    """A pool of nodes with millicores and bytes."""
    capacity = {"cpu": cpu, "memory": memory, "pods": 110, **fields.pop("capacity", {})}
    return Pool(name, fields.pop("cloud", "cloud"), {}, capacity, **fields)


def node(name: str, of: Pool | None = None, **fields: Any) -> NodeView:
    """A ready and empty node of a pool, idle for a minute; without a pool, one that is not ours."""
    free = fields.pop("free", dict(of.capacity) if of else {"cpu": 0, "memory": 0, "pods": 110})
    own = {"pool": of.name if of else "", "labels": dict(of.labels) if of else {}, "taints": of.taints if of else ()}
    defaults: dict[str, Any] = {"ready": True, "schedulable": True, "idle_since": NOW - 60, **own}
    return NodeView(name=name, free=free, **{**defaults, **fields})


def machine(name: str, of: str = "small", phase: MachinePhase = "joined", age: float = 60.0) -> MachineView:
    """A machine that came to its phase, and was asked for, some seconds ago."""
    return MachineView(name, of, phase, NOW - age, NOW - age)


def snapshot(
    demands: Iterable[Demand] = (), nodes: Iterable[NodeView] = (), machines: Iterable[MachineView] = (), **fields: Any
) -> ClusterSnapshot:
    """A snapshot of now."""
    made = ClusterSnapshot(
        NOW, tuple(demands), {each.name: each for each in nodes}, {each.name: each for each in machines}
    )
    return replace(made, **fields)
