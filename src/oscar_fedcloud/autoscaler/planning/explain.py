# SPDX-License-Identifier: Apache-2.0
"""Explain why a Pod triggers new machines or not, and why a node stays or is removed, by the decision's own reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Demand, Pool, Rules, SchedulingGroup
from oscar_fedcloud.autoscaler.planning.fits import kept_away, repelled, too_large
from oscar_fedcloud.autoscaler.planning.packing import NodeSlot, Placement
from oscar_fedcloud.autoscaler.planning.placement import PlacementPlan, make_plan
from oscar_fedcloud.autoscaler.planning.scale_down import ScaleDown, removals
from oscar_fedcloud.autoscaler.planning.scale_up import why_not
from oscar_fedcloud.autoscaler.quantities import show_all

_EXAMPLES = 3  # nodes named for one reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of what happens to a Pod, a node or a machine."""

    subject: str
    outcome: str  # one sentence
    details: tuple[str, ...] = ()  # the facts that led to the outcome
    known: bool = True  # False if there is no such Pod, node or machine

    def text(self) -> str:
        """Return the explanation as text for people."""
        return "\n".join([f"{self.subject}: {self.outcome}", *(f"  {line}" for line in self.details)])


def explain(snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules, subject: str) -> Explanation:
    """Explain what a decision now would do about a Pod (``namespace/name``), a node or a machine."""
    plan = make_plan(snapshot, pools, rules)
    demand = next((each for each in snapshot.demand if subject in each.pods), None)
    if demand is not None:
        return _explain_pod(subject, demand, snapshot, plan)
    if subject in snapshot.nodes or subject in snapshot.machines:
        return _explain_node(subject, snapshot, pools, rules, plan)
    return Explanation(
        subject,
        "it is neither a pending Pod, nor a node, nor a machine",
        ("a Pod that is bound, gated or ended, or that waits for a volume, requests no machine",),
        known=False,
    )


# -- Pods --------------------------------------------------------------------------------------------------------------


def _explain_pod(pod: str, demand: Demand, snapshot: ClusterSnapshot, plan: PlacementPlan) -> Explanation:
    placement = next((each for each in plan.placements if each.demand is demand and pod in each.pods), None)
    asks = f"it asks for {show_all(dict(demand.shape.requests))}; {demand.count} Pods are like it"
    details = [asks, *_nodes(demand.shape, snapshot), *_pools(demand.shape, plan)]
    return Explanation(pod, _outcome(placement, demand), tuple(details))


def _outcome(placement: Placement | None, demand: Demand) -> str:
    if placement is None and not demand.triggers:
        return "the scheduler has not judged it yet"
    if placement is None:
        return "it triggers no machine, because no pool can serve it now"
    match placement.kind:
        case "new":
            return f"it triggers a machine of pool {placement.where}"
        case "coming":
            return f"it waits for machine {placement.where}, which is starting"
        case "draining":
            return f"node {placement.where} was about to be removed and is kept for it"
        case _:
            return f"node {placement.where} has room for it; the scheduler should bind it there"


def _nodes(shape: SchedulingGroup, snapshot: ClusterSnapshot) -> Iterator[str]:
    """Yield why the existing nodes do not take the Pod, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for name, node in sorted(snapshot.nodes.items()):
        place = NodeSlot(name, "node", node.free, node.labels, node.taints, node.anti_affinity_on_node, node.pod_labels)
        if not node.ready:
            reason = "not ready"
        elif not node.schedulable:
            reason = "cordoned"
        else:
            reason = _why_not_there(shape, place)
        reasons.setdefault(reason or "room for it", []).append(name)
    for reason, names in reasons.items():
        more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
        yield f"node {', '.join(names[:_EXAMPLES])}{more}: {reason}"


def _why_not_there(shape: SchedulingGroup, place: NodeSlot) -> str:
    if reason := kept_away(shape, place.labels, place.taints, place.name) or too_large(shape, place.free):
        return reason
    apart = repelled(shape, place.pod_labels, place.anti_affinity_on_node)
    return "anti-affinity with a Pod on it" if apart else ""


def _pools(shape: SchedulingGroup, plan: PlacementPlan) -> Iterator[str]:
    for candidate in plan.candidates:
        left, bound = plan.candidates.left(candidate)
        reason = why_not(shape, candidate) or (bound if left <= 0 else f"it fits, at most {left} more")
        yield f"pool {candidate.pool.name}: {reason}"


# -- nodes and machines ------------------------------------------------------------------------------------------------


def _explain_node(
    name: str, snapshot: ClusterSnapshot, pools: Sequence[Pool], rules: Rules, plan: PlacementPlan
) -> Explanation:
    machine, node = snapshot.machines.get(name), snapshot.nodes.get(name)
    if machine is None:
        return Explanation(name, "it stays, because the autoscaler does not manage it")
    details = [f"machine of pool {machine.pool}, {machine.phase} for {snapshot.now - machine.since:.0f} s"]
    if machine.reason:
        details.append(machine.reason)
    planned = [each for each in plan.placements if each.where == name and each.kind != "new"]
    if planned:
        details.append(f"room for {sum(each.count for each in planned)} pending Pods")
    step = next((each for each in removals(snapshot, pools, rules, plan) if each.machine == name), None)
    if step is not None:
        return Explanation(name, f"{step.step.replace('_', ' ')}: {step.reason}", tuple(details))
    if node is None:
        return Explanation(name, "it is starting, or has been removed", tuple(details))
    details += [
        f"{count} {what}"
        for what, count in (("jobs", node.jobs), ("Pods that must not be evicted", node.non_evictable))
        if count
    ]
    shrinking = ScaleDown(snapshot, pools, rules, plan)
    reason = shrinking.why_stays(machine, node) or "its pool's minimum, its spares, or Pods with no room elsewhere"
    return Explanation(name, f"it stays: {reason}", tuple(details))
