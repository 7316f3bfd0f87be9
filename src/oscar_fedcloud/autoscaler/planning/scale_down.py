# SPDX-License-Identifier: Apache-2.0
"""Choose nodes to remove: those without work for a while are cordoned, and removed if they still have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, MachineView, NodeView, Pool, Removal, Rules
from oscar_fedcloud.autoscaler.planning.minimums import minimum
from oscar_fedcloud.autoscaler.planning.packing import NodeSlot
from oscar_fedcloud.autoscaler.planning.placement import PlacementPlan, is_spare
from oscar_fedcloud.autoscaler.planning.pool_candidates import on_the_way


def removals(snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules, plan: PlacementPlan) -> list[Removal]:
    """Return all removal steps."""
    shrinking = ScaleDown(snapshot, pools, rules, plan)
    return [*plan.given_up.values(), *shrinking.draining(), *shrinking.idle()]


@dataclass(slots=True)
class Surplus:
    """How many ready nodes, and how many idle ones among them, a pool has beyond its minimum and spares."""

    nodes: int
    spares: int

    def can_spare(self, node: NodeView) -> bool:
        """Return whether the pool can do without this node. A node with Pods that would have to move is no spare."""
        return self.nodes > 0 and (self.spares > 0 or bool(node.evictable))


class ScaleDown:
    """Chooses among the nodes that a placement leaves without work."""

    def __init__(self, snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules, plan: PlacementPlan) -> None:
        self.snapshot = snapshot
        self.rules = rules
        self.plan = plan
        self.slots = dict(plan.slots)
        self.pools = {pool.name: pool for pool in pools}

    def pool(self, name: str) -> Pool:
        """Return the pool. Idle machines of a pool that is no longer configured are removed."""
        return self.pools.get(name) or Pool(name, "", {}, {})

    def draining(self) -> Iterator[Removal]:
        """Yield the next step of each node that the autoscaler cordoned."""
        for name, machine in sorted(self.snapshot.machines.items()):
            node = self.snapshot.nodes.get(name)
            if machine.phase != "draining" or node is None:
                continue
            if reason := self.plan.wanted.get(name) or why_busy(node):
                yield Removal(name, "uncordon", reason)
            elif not self.why_none(machine) and self._rested(machine):
                yield Removal(name, "remove", f"no work since it was cordoned {self._age(machine):.0f} s ago")

    def _age(self, machine: MachineView) -> float:
        return self.snapshot.now - machine.since

    def _rested(self, machine: MachineView) -> bool:
        return self._age(machine) >= self.rules.cordon_pause

    def why_none(self, machine: MachineView) -> str:
        """Return why no machine of this pool may be removed now, or ""."""
        cloud = self.pool(machine.pool).cloud
        away = f"cloud {cloud} does not answer" if cloud in self.snapshot.clouds_away else ""
        return self.plan.removals_blocked_by or away

    def idle(self) -> Iterator[Removal]:
        """Yield nodes to cordon, the longest idle first, as many as the pools' minimums and spares allow."""
        pools = {machine.pool for machine in self.snapshot.machines.values()}
        surplus = {name: self.surplus(name) for name in pools}
        for machine, node in self._by_idleness():
            own = surplus[machine.pool]
            if self.why_stays(machine, node) or (node.ready and not own.can_spare(node)):
                continue
            if (taken := self._move(node)) is None:
                continue
            for name in taken:
                surplus[name].spares -= 1
            own.nodes -= node.ready
            own.spares -= node.ready and not node.evictable
            yield Removal(machine.name, "cordon", f"no work for {self._idle(node):.0f} s")

    def _by_idleness(self) -> list[tuple[MachineView, NodeView]]:
        nodes = self.snapshot.nodes
        found = [
            (machine, nodes[name])
            for name, machine in self.snapshot.machines.items()
            if name in nodes and nodes[name].idle_since is not None
        ]
        return sorted(found, key=lambda pair: (bool(pair[1].evictable), -self._idle(pair[1]), pair[0].name))

    def _idle(self, node: NodeView) -> float:
        return 0.0 if node.idle_since is None else self.snapshot.now - node.idle_since

    def why_stays(self, machine: MachineView, node: NodeView) -> str:
        """Return why a node is not cordoned, apart from its pool's minimum and spares, or ""."""
        if machine.phase != "joined":
            return f"its machine is {machine.phase}"
        if not node.schedulable:
            return "it was not cordoned by the autoscaler"
        if reason := why_busy(node) or self.why_none(machine):
            return reason
        place = self.slots.get(node.name)
        if place and place.used:
            return "work that waits has room on it"
        limit = self.pool(machine.pool).idle
        idle = self._idle(node)
        return "" if idle >= limit else f"idle for {idle:.0f} s, it may go after {limit:g} s"

    def surplus(self, name: str) -> Surplus:
        """Return how many nodes and spares a pool can do without."""
        pool = self.pool(name)
        machines = [each for each in self.snapshot.machines.values() if each.pool == name]
        places = [each for each in machines if each.name in self.slots and not on_the_way(each, self.snapshot)]
        there = sum(self.slots[each.name].kind == "node" for each in places)
        spare = sum(is_spare(each, self.snapshot, self.slots) for each in places)
        return Surplus(there - minimum(pool, self.snapshot.now), spare - pool.spares)

    def _move(self, node: NodeView) -> list[str] | None:
        """Find room on other nodes for the Pods that would have to move.

        Returns the pools of the idle nodes that take them, which must stay then, or None if there is not enough room.
        Nothing moves to a node that is to be removed.
        """
        if not node.evictable:
            self.slots.pop(node.name, None)
            return []
        places = [each for each in self.slots.values() if each.kind == "node" and each.name != node.name]
        found: dict[str, NodeSlot] = {}  # copies, because it may turn out that not all Pods fit
        for shape in node.evictable:
            place = next((slot for each in places if (slot := found.get(each.name, each)).fits(shape)), None)
            if place is None:
                return None
            found.setdefault(place.name, replace(place)).place(shape, 1)
        machines = [self.snapshot.machines.get(name) for name in found]
        taken = [each.pool for each in machines if each and is_spare(each, self.snapshot, self.slots)]
        self.slots.pop(node.name, None)
        self.slots.update(found)
        return taken


def why_busy(node: NodeView) -> str:
    """Return what on the node prevents its removal, or ""."""
    if node.jobs:
        return f"{node.jobs} Pods of Jobs run on it"
    if node.non_evictable:
        return f"{node.non_evictable} Pods on it must not be evicted"
    return node.protected
