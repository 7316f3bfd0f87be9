# SPDX-License-Identifier: Apache-2.0
"""Simulate a decision with additional demand or other pools, without executing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Demand, Launch, Pool, Refusal, Rules, SchedulingGroup
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.autoscaler.planning.pool_candidates import ALIVE
from oscar_fedcloud.autoscaler.planning.recording import show_launch, show_refusal
from oscar_fedcloud.autoscaler.quantities import parse_quantity


@dataclass(frozen=True, slots=True)
class Outlook:
    """The simulated outcome."""

    launches: tuple[Launch, ...]
    refusals: tuple[Refusal, ...]
    nodes: Mapping[str, int]  # pool -> machines after the launches
    price_per_hour: float  # of all these machines, as the pools state it
    watts: float

    def text(self) -> str:
        """Return the outcome as text for people."""
        lines = [*map(show_launch, self.launches)] or [
            "no further machines: there is room for everything that fits at all"
        ]
        lines += map(show_refusal, self.refusals)
        lines.append("then: " + ", ".join(f"{count} in pool {pool}" for pool, count in sorted(self.nodes.items())))
        if self.price_per_hour:
            lines.append(f"price of an hour: {self.price_per_hour:g}")
        if self.watts:
            lines.append(f"power: {self.watts:g} W")
        return "\n".join(lines)


def what_if(snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules, demand: Sequence[Demand]) -> Outlook:
    """Return what would be requested if this demand were added to the snapshot."""
    decision = decide(replace(snapshot, demand=(*snapshot.demand, *demand)), pools, rules)
    nodes = {pool.name: 0 for pool in pools}
    for machine in snapshot.machines.values():
        if machine.phase in ALIVE and machine.pool in nodes:
            nodes[machine.pool] += 1
    for launch in decision.launches:
        nodes[launch.pool] += launch.count
    return Outlook(
        decision.launches,
        decision.refusals,
        nodes,
        sum(pool.price * nodes[pool.name] for pool in pools),
        sum(pool.watts * nodes[pool.name] for pool in pools),
    )


def parse_demand(text: str) -> Demand:
    """Parse demand such as ``500 x cpu=2,memory=4Gi,nvidia.com/gpu=1``. Raises ValueError."""
    number, times, rest = text.partition("x")
    if not times or not number.strip().isdigit() or int(number) < 1:
        raise ValueError(f"{text!r} is not demand, write for example '500 x cpu=2,memory=4Gi'")
    requests = {"pods": 1}
    for part in rest.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not name or not equals:
            raise ValueError(f"{part.strip()!r} is not a resource, write for example cpu=2")
        requests[name] = parse_quantity(value, name, up=True)
    return Demand(SchedulingGroup(tuple(sorted(requests.items()))), int(number))
