# SPDX-License-Identifier: Apache-2.0
"""What holds for any demand: hardly more nodes than needed, no Pod that would not fit, and order does not matter."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from parts.scaling import pool, shape, snapshot
from parts.scenes import LABEL, scenes

from oscar_fedcloud.autoscaler.model import (
    ClusterSnapshot,
    Demand,
    Rules,
    SchedulingGroup,
)
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.autoscaler.planning.fits import count_fit
from oscar_fedcloud.autoscaler.planning.placement import make_plan

SIDE = 12  # of a node in units of both resources, in the tests of packing
Sizes = list[tuple[int, int]]


def least_nodes(pods: Sizes) -> int:
    """The fewest nodes of SIDE x SIDE that hold all these Pods, by trying everything."""
    ordered = sorted(pods, reverse=True)
    best = len(ordered)

    def place(index: int, nodes: list[tuple[int, int]]) -> None:
        nonlocal best
        if len(nodes) >= best:
            return
        if index == len(ordered):
            best = len(nodes)
            return
        cpu, memory = ordered[index]
        for at, (free_cpu, free_memory) in enumerate(nodes):
            if cpu <= free_cpu and memory <= free_memory and (free_cpu, free_memory) not in nodes[:at]:
                changed = [*nodes[:at], (free_cpu - cpu, free_memory - memory), *nodes[at + 1 :]]
                place(index + 1, changed)
        place(index + 1, [*nodes, (SIDE - cpu, SIDE - memory)])

    place(0, [])
    return best


sizes = st.tuples(st.integers(1, SIDE), st.integers(1, SIDE))


@given(st.lists(sizes, min_size=1, max_size=10))
@settings(max_examples=200, deadline=None)
def test_never_more_nodes_than_needed_and_one(pods: Sizes) -> None:
    """Against the true least number: never less (some Pod would not fit), never more than one more."""
    demands = [Demand(shape(cpu, memory), count) for (cpu, memory), count in Counter(pods).items()]
    decision = decide(snapshot(demands), [pool(cpu=SIDE, memory=SIDE, max=1000)])
    least = least_nodes(pods)
    assert least <= decision.launches[0].count <= least + 1
    assert decision.refusals == ()


@given(sizes, st.integers(1, 5000))
def test_of_one_shape_exactly_as_many_as_needed(wanted: tuple[int, int], count: int) -> None:
    cpu, memory = wanted
    decision = decide(snapshot([Demand(shape(cpu, memory), count)]), [pool(cpu=SIDE, memory=SIDE, max=10_000)])
    assert decision.launches[0].count == -(-count // min(SIDE // cpu, SIDE // memory, 110))


@given(scenes(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_order_does_not_matter(scene: tuple[ClusterSnapshot, list], chance: random.Random) -> None:
    found, chosen = scene

    def shuffled(items):
        return chance.sample(list(items), len(items))

    other = replace(
        found,
        demand=tuple(shuffled(found.demand)),
        nodes=dict(shuffled(found.nodes.items())),
        machines=dict(shuffled(found.machines.items())),
    )
    assert decide(other, shuffled(chosen)) == decide(found, chosen)


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_bounds_hold_and_every_pod_is_accounted_for(scene: tuple[ClusterSnapshot, list]) -> None:
    """No pool exceeds its max or its quota; each waiting Pod is placed once or refused, and with a reason."""
    found, chosen = scene
    plan, decision = make_plan(found, chosen, Rules()), decide(found, chosen)
    by_name = {each.name: each for each in chosen}
    for launch in decision.launches:
        there = sum(
            each.pool == launch.pool and each.phase not in ("stopped", "failed") for each in found.machines.values()
        )
        room = found.health[launch.pool].headroom
        assert there + launch.count <= max(by_name[launch.pool].max, there)
        assert room is None or launch.count <= room
    placed = Counter(pod for each in plan.placements for pod in each.pods)
    refused = Counter(pod for each in decision.refusals for pod in each.pods)
    assert placed + refused == Counter(pod for each in found.demand for pod in each.pods)
    for refusal in decision.refusals:
        assert set(refusal.reasons) == set(by_name)
        assert all(refusal.reasons.values())


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_no_pod_is_placed_where_it_does_not_fit(scene: tuple[ClusterSnapshot, list]) -> None:
    """All Pods placed on one existing node are counted together against what was free, by other code than ours."""
    found, chosen = scene
    by_name = {each.name: each for each in chosen}
    used: dict[str, Counter[str]] = {}
    placed: dict[str, list[SchedulingGroup]] = {}
    for each in make_plan(found, chosen, Rules()).placements:
        if each.kind == "new":
            assert count_fit(by_name[each.where].capacity, each.demand.shape.requests)
            continue
        total = used.setdefault(each.where, Counter())
        for name, value in each.demand.shape.requests:
            total[name] += value * each.count
        placed.setdefault(each.where, []).extend([each.demand.shape] * each.count)
    for name, total in used.items():
        free = found.nodes[name].free if name in found.nodes and found.nodes[name].ready else None
        free = free or by_name[found.machines[name].pool].capacity
        assert all(total[resource] <= free.get(resource, 0) for resource in total)
        labels = [each.labels for each in placed[name]]
        for lonely in placed[name]:
            assert not lonely.anti_affinity or labels.count(LABEL) == (lonely.labels == LABEL)


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_only_idle_nodes_of_ours_are_cordoned_or_removed(scene: tuple[ClusterSnapshot, list]) -> None:
    found, chosen = scene
    for removal in decide(found, chosen).removals:
        owner, there = found.machines[removal.machine], found.nodes.get(removal.machine)
        if removal.step in ("cordon", "remove"):
            assert found.trustworthy
            assert there is not None
            assert there.jobs == 0
            assert not there.protected
            assert owner.phase == {"cordon": "joined", "remove": "draining"}[removal.step]
        if removal.step == "remove":
            assert found.now - owner.since >= Rules().cordon_pause
        if removal.step == "give_up":
            assert found.trustworthy
            assert owner.phase in ("asked", "starting")
            assert there is None or not there.ready
