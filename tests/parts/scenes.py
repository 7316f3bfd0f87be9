# SPDX-License-Identifier: Apache-2.0
"""Strategies of Hypothesis for what the autoscaler decides on: any cluster, with its pools."""

from __future__ import annotations

from hypothesis import strategies as st
from parts.scaling import NOW, demand, machine, node, pool, shape, snapshot

from oscar_fedcloud.autoscaler.model import (
    NAMESPACE,
    ClusterSnapshot,
    MachineView,
    NodeView,
    PoolHealth,
    Taint,
)
from oscar_fedcloud.autoscaler.model import Toleration as Tolerates

LABEL = (("app", "a"), (NAMESPACE, "ns"))
shapes = st.builds(
    shape,
    cpu=st.integers(100, 6000),
    memory=st.integers(1, 12),
    node_selector=st.sampled_from([(), (("disk", "fast"),)]),
    tolerations=st.sampled_from([(), (Tolerates("own", "Exists"),)]),
    anti_affinity=st.sampled_from([(), (LABEL,)]),
    labels=st.sampled_from([(), LABEL]),
)
pools = st.builds(
    pool,
    name=st.sampled_from(["a", "b", "c"]),
    cpu=st.integers(500, 8000),
    memory=st.integers(1, 16),
    labels=st.sampled_from([{}, {"disk": "fast"}]),
    taints=st.sampled_from([(), (Taint("own", "x"),)]),
    max=st.integers(0, 6),
    min=st.integers(0, 2),
    spares=st.integers(0, 2),
    priority=st.integers(0, 1),
    price=st.sampled_from([0.0, 1.0, 1.5]),
    idle=st.sampled_from([10.0, 100.0]),
)
phases = st.sampled_from(["asked", "starting", "joined", "draining", "removing", "stopped", "failed"])


@st.composite
def scenes(draw: st.DrawFn) -> tuple[ClusterSnapshot, list]:
    """A snapshot of anything, with its pools."""
    chosen = draw(st.lists(pools, min_size=1, max_size=3, unique_by=lambda each: each.name))
    machines: list[MachineView] = []
    nodes: list[NodeView] = [node("front", free={"cpu": draw(st.integers(0, 3000)), "memory": 8, "pods": 50})]
    for number in range(draw(st.integers(0, 6))):
        of = draw(st.sampled_from(chosen))
        machines.append(machine(f"m{number}", of.name, draw(phases), draw(st.sampled_from([1.0, 50.0, 2000.0]))))
        if draw(st.booleans()):
            jobs = draw(st.integers(0, 2))
            nodes.append(
                node(
                    f"m{number}",
                    of,
                    ready=draw(st.booleans()),
                    schedulable=draw(st.booleans()),
                    jobs=jobs,
                    evictable=draw(st.sampled_from([(), (shape(200, 1),)])),
                    protected=draw(st.sampled_from(["", "", "annotation"])),
                    idle_since=None if jobs else NOW - draw(st.sampled_from([5.0, 500.0])),
                )
            )
    wanted = draw(st.lists(st.tuples(shapes, st.integers(1, 12)), max_size=5))
    demands = [demand(count, each, f"d{number}") for number, (each, count) in enumerate(wanted)]
    health = {each.name: PoolHealth(headroom=draw(st.sampled_from([None, 0, 2]))) for each in chosen}
    trustworthy = draw(st.booleans())
    return snapshot(demands, nodes, machines, health=health, trustworthy=trustworthy), chosen
