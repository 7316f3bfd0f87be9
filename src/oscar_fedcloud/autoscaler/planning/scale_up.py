# SPDX-License-Identifier: Apache-2.0
"""Choose the pools of new nodes by priority, then price, then least waste; also for minimums and spares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oscar_fedcloud.autoscaler.model import Launch, Refusal, Resources, SchedulingGroup
from oscar_fedcloud.autoscaler.planning.fits import kept_away, too_large
from oscar_fedcloud.autoscaler.planning.packing import Estimate, PendingGroup, Placement, estimate, size
from oscar_fedcloud.autoscaler.planning.pool_candidates import PoolCandidate, PoolCandidates


@dataclass(frozen=True, slots=True)
class _Option:
    """New nodes of one pool for some of the demand. The option with the smallest rank is the best."""

    candidate: PoolCandidate
    items: list[PendingGroup]
    estimate: Estimate
    rank: tuple[float, float, int, str]


def place_on_new_nodes(waiting: Sequence[PendingGroup], candidates: PoolCandidates) -> list[Placement]:
    """Request new nodes for all demand that triggers them and can be served. Returns where its Pods go.

    Pods that the scheduler has not judged yet are included if others of their shape found no room: the scheduler will
    judge them alike, and one request for all of them is better than several for a few each.
    """
    triggering = {item.demand.shape for item in waiting if item.left and item.demand.triggers}
    waiting = [item for item in waiting if item.demand.shape in triggering and not item.demand.shape.unsupported]
    placements: list[Placement] = []
    while option := _best([item for item in waiting if item.left], candidates):
        name = option.candidate.pool.name
        placed = []
        for item, count in zip(option.items, option.estimate.placed, strict=True):
            if count:
                placed.append(Placement(item.demand, count, "new", name, item.take(count)))
        count = sum(each.count for each in placed)
        pods = [pod for each in placed for pod in each.pods]
        candidates.take(option.candidate, option.estimate.nodes, f"{count} Pods have no room", pods)
        placements += placed
    return placements


def _best(waiting: Sequence[PendingGroup], candidates: PoolCandidates) -> _Option | None:
    """Return the best option of the highest priority at which any demand can be served."""
    for priority in sorted({candidate.pool.priority for candidate in candidates}, reverse=True):
        options = [
            option
            for candidate in candidates
            if candidate.pool.priority == priority and (option := _option(waiting, candidate, candidates))
        ]
        if options:
            return min(options, key=lambda option: option.rank)
    return None


def _option(waiting: Sequence[PendingGroup], candidate: PoolCandidate, candidates: PoolCandidates) -> _Option | None:
    most, _ = candidates.left(candidate)
    items = [item for item in waiting if most and not why_not(item.demand.shape, candidate)]
    if not items:
        return None
    shapes = [item.demand.shape for item in items]
    found = estimate(candidate.node(), shapes, [item.left for item in items], most)
    if not found.nodes:
        return None
    placed = sum(count * size(shape, _UNITS) for count, shape in zip(found.placed, shapes, strict=True))
    rank = (
        candidate.pool.price * found.nodes / placed,
        _waste(candidate.free, shapes, found),
        found.nodes,
        candidate.pool.name,
    )
    return _Option(candidate, items, found, rank)


_UNITS = {"cpu": 1000, "memory": 4 * 2**30, "ephemeral-storage": 100 * 2**30, "pods": 100}  # to compare unlike amounts


def _waste(free: Resources, shapes: Sequence[SchedulingGroup], found: Estimate) -> float:
    """Return the mean unrequested share of the new nodes' resources."""
    used: dict[str, int] = {}
    for shape, count in zip(shapes, found.placed, strict=True):
        for name, value in shape.requests:
            used[name] = used.get(name, 0) + value * count
    shares = [
        1.0 - used.get(name, 0) / (value * found.nodes)
        for name, value in free.items()
        if value > 0 and name not in ("pods", "ephemeral-storage")
    ]
    return sum(shares) / len(shares) if shares else 0.0


def why_not(shape: SchedulingGroup, candidate: PoolCandidate) -> str:
    """Return why the shape does not fit on a new node of the pool, however many there may be, or ""."""
    if shape.unsupported:
        return f"not simulated: {', '.join(shape.unsupported)}"
    return kept_away(shape, candidate.labels, candidate.pool.taints) or too_large(shape, candidate.free)


def refusals(waiting: Sequence[PendingGroup], candidates: PoolCandidates) -> Iterator[Refusal]:
    """Yield the demand that cannot be served, with each pool's reason."""
    for item in waiting:
        if item.left and item.demand.triggers:
            demand = item.demand
            reasons = {
                candidate.pool.name: why_not(demand.shape, candidate) or candidates.left(candidate)[1]
                for candidate in candidates
            }
            yield Refusal(demand.shape, item.left, demand.pods[demand.count - item.left :], reasons)


def add_machines(candidate: PoolCandidate, candidates: PoolCandidates, wanted: int, reason: str) -> None:
    """Request ``wanted`` more machines of a pool, as far as its limits allow."""
    left, _ = candidates.left(candidate)
    if (count := min(wanted, left)) > 0:
        candidates.take(candidate, count, reason)


def launches(candidates: PoolCandidates) -> Iterator[Launch]:
    """Yield one request for each pool."""
    for candidate in candidates:
        if candidate.new:
            resume = candidate.stopped[: candidate.new]
            yield Launch(
                candidate.pool.name, candidate.new, "; ".join(candidate.reasons), tuple(sorted(candidate.pods)), resume
            )
