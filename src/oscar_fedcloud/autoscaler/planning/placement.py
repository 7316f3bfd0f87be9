# SPDX-License-Identifier: Apache-2.0
"""The placement of all demand, on which a decision is based."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, MachineView, NodeView, Pool, Removal, Resources, Rules
from oscar_fedcloud.autoscaler.planning.minimums import minimum
from oscar_fedcloud.autoscaler.planning.packing import NodeSlot, PendingGroup, Placement, fill, in_order
from oscar_fedcloud.autoscaler.planning.pool_candidates import ALIVE, PoolCandidate, PoolCandidates, on_the_way
from oscar_fedcloud.autoscaler.planning.scale_up import add_machines, place_on_new_nodes


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    """Where all demand goes."""

    waiting: Sequence[PendingGroup]  # all demand, with the number of Pods that could not be placed
    placements: Sequence[Placement]
    slots: Mapping[str, NodeSlot]  # nodes and starting machines, by name
    candidates: PoolCandidates
    given_up: Mapping[str, Removal]  # machines that did not join in time
    wanted: Mapping[str, str]  # draining nodes to uncordon -> reason
    removals_blocked_by: str


def make_plan(snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules) -> PlacementPlan:
    """Place all demand on existing nodes and starting machines, and on new nodes for the rest."""
    removals_blocked_by = why_removals_blocked(snapshot, rules)
    late = [] if removals_blocked_by else sorted(_given_up(snapshot, pools), key=lambda each: each.machine)
    given_up = {each.machine: each for each in late}
    failing = {snapshot.machines[name].pool: each.reason for name, each in given_up.items() if each.blames_pool}
    candidates = PoolCandidates(snapshot, pools, rules.limits, failing)
    slots = {each.name: each for each in _slots(snapshot, candidates, given_up)}
    waiting = in_order(snapshot.demand, _reference(pools))
    placements = fill(waiting, list(slots.values()))
    placements += place_on_new_nodes(waiting, candidates)
    wanted = {name: "work has room on it" for name, each in slots.items() if each.kind == "draining" and each.used}
    for candidate in candidates:
        _keep_ready(snapshot, candidate, candidates, slots, wanted)
    return PlacementPlan(waiting, placements, slots, candidates, given_up, wanted, removals_blocked_by)


def why_removals_blocked(snapshot: ClusterSnapshot, rules: Rules) -> str:
    """Return why no machine at all may be removed now, or ""."""
    if not snapshot.trustworthy:
        return "the API server does not answer, or its watches are interrupted"
    expected = [node for node in snapshot.nodes.values() if _should_be_ready(node, snapshot)]
    unready = sum(not node.ready for node in expected)
    if unready > rules.unready_share * len(expected):
        return f"{unready} of {len(expected)} nodes are not ready, more than a share of {rules.unready_share:g}"
    return ""


def _should_be_ready(node: NodeView, snapshot: ClusterSnapshot) -> bool:
    machine = snapshot.machines.get(node.name)
    return machine is None or machine.phase in ("joined", "draining")


def _given_up(snapshot: ClusterSnapshot, pools: Sequence[Pool]) -> Iterator[Removal]:
    """Yield the removal of machines that did not join in time."""
    for pool in pools:
        machines = [machine for machine in snapshot.machines.values() if machine.pool == pool.name]
        joined = max((machine.since for machine in machines if machine.phase == "joined"), default=0.0)
        for machine in machines:
            late = on_the_way(machine, snapshot) and snapshot.now - machine.since > pool.startup_timeout
            if late and pool.cloud not in snapshot.clouds_away:
                reason = f"machine {machine.name} did not become a ready node within {pool.startup_timeout:g} s"
                yield Removal(machine.name, "give_up", reason, blames_pool=joined < machine.since)


def _slots(
    snapshot: ClusterSnapshot, candidates: PoolCandidates, given_up: Mapping[str, Removal]
) -> Iterator[NodeSlot]:
    """Yield where Pods may go: ready nodes, then draining nodes that can be uncordoned, then starting machines."""
    draining = []
    for name, node in sorted(snapshot.nodes.items()):
        machine = snapshot.machines.get(name)
        phase = machine.phase if machine else "joined"
        if not node.ready or phase in ("removing", "stopped", "failed"):
            continue
        if phase == "draining":
            draining.append(node)
        elif node.schedulable:
            more = _still_to_come(node, machine, candidates, snapshot.now)
            free = {**node.free, **more} if more else node.free
            yield NodeSlot(name, "node", free, node.labels, node.taints, node.anti_affinity_on_node, node.pod_labels)
    for node in draining:
        yield NodeSlot(
            node.name, "draining", node.free, node.labels, node.taints, node.anti_affinity_on_node, node.pod_labels
        )
    for name, machine in sorted(snapshot.machines.items()):
        candidate = candidates.by_name.get(machine.pool)
        if candidate is None or name in given_up or not on_the_way(machine, snapshot):
            continue
        if (
            machine.phase == "starting" or candidate.pool.cloud not in snapshot.clouds_away
        ):  # otherwise the request may not have reached it
            yield candidate.node(name)


def _still_to_come(node: NodeView, machine: MachineView | None, candidates: PoolCandidates, now: float) -> Resources:
    """Return the GPUs that a young node will have once its device plugins run, which start after it is ready."""
    candidate = candidates.by_name.get(machine.pool) if machine else None
    if candidate is None or machine is None or now - machine.since > candidate.pool.startup_timeout:
        return {}
    return {name: value for name, value in candidate.free.items() if "/" in name and name not in node.free}


def _reference(pools: Iterable[Pool]) -> Resources:
    """Return the largest capacity of any pool's node for each resource."""
    most: dict[str, int] = {}
    for pool in pools:
        for name, value in pool.capacity.items():
            most[name] = max(most.get(name, 0), value)
    return most


def _keep_ready(
    snapshot: ClusterSnapshot,
    candidate: PoolCandidate,
    candidates: PoolCandidates,
    slots: Mapping[str, NodeSlot],
    wanted: dict[str, str],
) -> None:
    """Ensure the pool's minimum and spares: uncordon draining nodes first, then request new machines."""
    pool = candidate.pool
    machines = sorted((m for m in snapshot.machines.values() if m.pool == pool.name), key=lambda m: m.name)
    least = minimum(pool, snapshot.now)
    alive = sum((m.phase in ALIVE and m.name in slots) or m.phase == "joined" for m in machines)
    alive += candidate.new + sum(m.name in wanted for m in machines)
    idle = sum(is_spare(machine, snapshot, slots) for machine in machines)
    for_least, for_spares = least - alive, pool.spares - idle
    missing = max(for_least, for_spares)
    reason = f"the pool's minimum is {least}" if for_least >= for_spares else f"the pool keeps {pool.spares} spares"
    back = [m.name for m in machines if m.name in slots and slots[m.name].kind == "draining" and m.name not in wanted]
    for name in back[: max(0, missing)]:
        wanted[name] = reason
        missing -= 1
    add_machines(candidate, candidates, missing, reason)


def is_spare(machine: MachineView, snapshot: ClusterSnapshot, slots: Mapping[str, NodeSlot]) -> bool:
    """Return whether the machine is, or will be, a node without work and without planned work."""
    place = slots.get(machine.name)
    if place is None or place.used or place.kind == "draining":
        return False
    if place.kind == "coming":
        return True
    node = snapshot.nodes[machine.name]
    return node.idle_since is not None and not node.evictable
