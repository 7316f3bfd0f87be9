# SPDX-License-Identifier: Apache-2.0
"""Place Pods on nodes that exist or are starting, and estimate how few new nodes hold the rest.

Pods of one shape are placed by count, not one by one, so the work grows with shapes and nodes, not with Pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from oscar_fedcloud.autoscaler.model import Demand, Resources, SchedulingGroup, Taint
from oscar_fedcloud.autoscaler.planning.fits import LabelSet, apart_from_own, count_fit, kept_away, repelled

# node: ready. draining: cordoned by the autoscaler, may be uncordoned. coming: requested, not a node yet.
Kind = Literal["node", "draining", "coming"]


@dataclass(slots=True)
class NodeSlot:
    """The room for Pods on one node, which shrinks as they are placed. ``free`` is copied before it is changed."""

    name: str
    kind: Kind
    free: Resources
    labels: Mapping[str, str]
    taints: tuple[Taint, ...] = ()
    anti_affinity_on_node: tuple[LabelSet, ...] = ()
    pod_labels: tuple[LabelSet, ...] = ()
    used: bool = False

    def fits(self, shape: SchedulingGroup) -> int:
        """Return how many Pods of the shape fit."""
        most = count_fit(self.free, shape.requests)
        if not most:
            return 0
        if (self.taints or shape.node_selector or shape.terms) and kept_away(
            shape, self.labels, self.taints, self.name
        ):
            return 0
        if (self.anti_affinity_on_node or shape.anti_affinity) and repelled(
            shape, self.pod_labels, self.anti_affinity_on_node
        ):
            return 0
        return 1 if shape.anti_affinity and apart_from_own(shape) else most

    def place(self, shape: SchedulingGroup, count: int) -> None:
        """Reserve room for ``count`` Pods."""
        free = dict(self.free)
        for name, value in shape.requests:
            free[name] = free.get(name, 0) - value * count
        self.free, self.used = free, True
        self.anti_affinity_on_node += shape.anti_affinity
        if shape.labels:
            self.pod_labels += (shape.labels,)


@dataclass(slots=True)
class PendingGroup:
    """Demand of which ``left`` Pods are not placed yet."""

    demand: Demand
    left: int

    def take(self, count: int) -> tuple[str, ...]:
        """Count Pods as placed, and return their names where known."""
        begin = self.demand.count - self.left
        self.left -= count
        return self.demand.pods[begin : begin + count]


@dataclass(frozen=True, slots=True)
class Placement:
    """``count`` Pods of a demand fit on a node, on a starting machine, or (kind "new") on one requested now."""

    demand: Demand
    count: int
    kind: Literal["node", "draining", "coming", "new"]
    where: str
    pods: tuple[str, ...]


def in_order(demand: Iterable[Demand], reference: Resources) -> list[PendingGroup]:
    """Return all demand in the order in which it is placed: unschedulable before unjudged, large before small."""
    sizes: dict[SchedulingGroup, tuple[float, str]] = {}

    def rank(each: Demand) -> tuple[bool, float, str, bool, str, tuple[str, ...]]:
        if each.shape not in sizes:
            sizes[each.shape] = (-largest_share(each.shape, reference), repr(each.shape))
        return (not each.triggers, *sizes[each.shape], not each.pods, each.service, each.pods[:1])

    return [PendingGroup(each, each.count) for each in sorted(demand, key=rank)]


def fill(waiting: Iterable[PendingGroup], slots: Sequence[NodeSlot]) -> list[Placement]:
    """Place demand by first fit, including demand that the cluster's scheduler would place by itself."""
    placements = []
    waiting = [item for item in waiting if not item.demand.shape.unsupported]
    least = _least(item.demand.shape for item in waiting)
    not_full = [each for each in slots if count_fit(each.free, least)]
    for item in waiting:
        for each in not_full:
            if item.left <= 0:
                break
            if count := min(item.left, each.fits(item.demand.shape)):
                each.place(item.demand.shape, count)
                placements.append(Placement(item.demand, count, each.kind, each.name, item.take(count)))
    return placements


def _least(shapes: Iterable[SchedulingGroup]) -> list[tuple[str, int]]:
    """Return what every shape requests at least. Nodes with less are skipped."""
    least: dict[str, int] | None = None
    for shape in shapes:
        asked = dict(shape.requests)
        least = asked if least is None else {name: min(least[name], asked[name]) for name in least.keys() & asked}
    return list((least or {}).items())


# -- new nodes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """``nodes`` new nodes hold ``placed[i]`` Pods of the i-th shape."""

    nodes: int
    placed: tuple[int, ...]


@dataclass(slots=True)
class _Filling:
    """Fills new nodes one after the other, trying the shapes in a given order."""

    empty: NodeSlot
    order: Sequence[int]
    shapes: Sequence[SchedulingGroup]
    left: list[int]
    nodes: int = 0
    placed: list[int] = field(default_factory=list)

    def run(self, most: int) -> Estimate:
        self.placed = [0] * len(self.shapes)
        while self.nodes < most and (pattern := self._one_node()):
            times = min(most - self.nodes, *(self.left[index] // count for index, count in pattern.items()))
            self.nodes += times
            for index, count in pattern.items():
                self.left[index] -= count * times
                self.placed[index] += count * times
        return Estimate(self.nodes, tuple(self.placed))

    def _one_node(self) -> dict[int, int]:
        """Return what the next node holds: shape index -> Pods. Further nodes hold the same while Pods are left."""
        node = replace(self.empty)
        pattern = {}
        for index in self.order:
            if self.left[index] and (count := min(self.left[index], node.fits(self.shapes[index]))):
                node.place(self.shapes[index], count)
                pattern[index] = count
        return pattern


def estimate(empty: NodeSlot, shapes: Sequence[SchedulingGroup], counts: Sequence[int], most: int) -> Estimate:
    """Estimate how few nodes like the empty one, at most ``most``, hold these Pods, all of which may run there.

    Uses first-fit decreasing with several definitions of "large". The best result is within one node of the optimum
    in nearly all cases that occur.
    """
    best = Estimate(0, tuple(0 for _ in shapes))
    for order in _orders(empty.free, shapes):
        found = _Filling(empty, order, shapes, list(counts)).run(most)
        if (-sum(found.placed), found.nodes) < (-sum(best.placed), best.nodes):
            best = found
    return best


def _orders(free: Resources, shapes: Sequence[SchedulingGroup]) -> list[list[int]]:
    """Return orders of shape indices: by the largest share of a node, by the sum of the shares, by each resource."""
    names = sorted({name for shape in shapes for name, _ in shape.requests if name != "pods"})
    shares = [_shares(shape, free) for shape in shapes]
    scores = [
        (max(each.values(), default=0.0), sum(each.values()), *(each.get(name, 0.0) for name in names))
        for each in shares
    ]
    orders: list[list[int]] = []
    for column in range(2 + len(names)):
        order = sorted(range(len(shapes)), key=lambda index: -scores[index][column])
        if order not in orders:
            orders.append(order)
    return orders


def _shares(shape: SchedulingGroup, free: Resources) -> dict[str, float]:
    return {name: value / max(1, free.get(name, 0)) for name, value in shape.requests}


def largest_share(shape: SchedulingGroup, reference: Resources) -> float:
    """Return the largest share of a node of this size that the shape requests."""
    return max(_shares(shape, reference).values(), default=0.0)


def size(shape: SchedulingGroup, reference: Resources) -> float:
    """Return the sum of the shares of a node of this size that the shape requests."""
    return sum(_shares(shape, reference).values())
