# SPDX-License-Identifier: Apache-2.0
"""Which nodes go, by which steps, and what keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from parts.scaling import GIB, NOW, demand, machine, node, pool, shape, snapshot

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Decision, Rules
from oscar_fedcloud.autoscaler.planning.decide import decide

FOUR = pool(idle=300.0)
LONG = NOW - 301


def steps(decision: Decision) -> dict[str, str]:
    return {each.machine: each.step for each in decision.removals}


def cluster(count: int = 1, **fields: Any) -> ClusterSnapshot:
    """Nodes of ours that have been idle long enough."""
    names = [f"small-{number}" for number in range(count)]
    nodes = [node(name, FOUR, **{"idle_since": LONG, **fields}) for name in names]
    return snapshot((), nodes, [machine(name) for name in names])


def draining(age: float, **fields: Any) -> ClusterSnapshot:
    found = cluster(schedulable=False, **fields)
    return replace(found, machines={"small-0": machine("small-0", phase="draining", age=age)})


# -- the way out -------------------------------------------------------------------------------------------------------


def test_an_idle_node_is_cordoned_first() -> None:
    assert steps(decide(cluster(), [FOUR])) == {"small-0": "cordon"}


def test_it_is_removed_after_the_pause_and_not_before() -> None:
    assert steps(decide(draining(4.9), [FOUR])) == {}
    assert steps(decide(draining(5.0), [FOUR])) == {"small-0": "remove"}
    assert steps(decide(draining(5.0), [FOUR], Rules(cordon_pause=10))) == {}


@pytest.mark.parametrize(
    "work",
    [
        {"jobs": 1, "idle_since": None},
        {"non_evictable": 1, "idle_since": None},
        {"protected": "annotation cluster-autoscaler.kubernetes.io/scale-down-disabled is set"},
    ],
)
def test_work_that_came_meanwhile_takes_it_back(work: dict[str, Any]) -> None:
    assert steps(decide(draining(60.0, **work), [FOUR])) == {"small-0": "uncordon"}


def test_demand_takes_it_back_and_asks_for_no_machine() -> None:
    decision = decide(replace(draining(60.0), demand=(demand(3),)), [FOUR])
    assert steps(decision) == {"small-0": "uncordon"}
    assert decision.launches == ()


def test_minimum_and_spares_take_it_back() -> None:
    for wanted in (replace(FOUR, min=1), replace(FOUR, spares=1)):
        decision = decide(draining(60.0), [wanted])
        assert steps(decision) == {"small-0": "uncordon"}
        assert decision.launches == ()


def test_to_zero() -> None:
    assert steps(decide(cluster(3), [FOUR])) == {f"small-{number}": "cordon" for number in range(3)}


# -- what keeps it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason",
    [
        {"idle_since": NOW - 299},
        {"idle_since": None, "jobs": 1},
        {"idle_since": None, "non_evictable": 1},
        {"protected": "annotation"},
        {"schedulable": False},  # cordoned by somebody else
    ],
)
def test_what_keeps_a_node(reason: dict[str, Any]) -> None:
    assert steps(decide(cluster(**reason), [FOUR])) == {}


def test_nodes_without_a_machine_of_ours_are_never_touched() -> None:
    assert steps(decide(replace(cluster(2), machines={}), [FOUR])) == {}


def test_the_longest_idle_go_first_as_far_as_minimum_and_spares_allow() -> None:
    nodes = [node(f"small-{number}", FOUR, idle_since=LONG - number) for number in range(4)]
    found = snapshot((), nodes, [machine(each.name) for each in nodes])
    assert steps(decide(found, [replace(FOUR, min=3)])) == {"small-3": "cordon"}
    assert steps(decide(found, [replace(FOUR, spares=2)])) == {"small-3": "cordon", "small-2": "cordon"}
    assert steps(decide(found, [replace(FOUR, minimums=(("* * * * *", 4),))])) == {}


def test_a_node_with_room_for_demand_stays() -> None:
    found = replace(cluster(2), demand=(demand(2),))
    assert steps(decide(found, [FOUR])) == {"small-1": "cordon"}


def test_young_pods_keep_nodes_too() -> None:
    found = replace(cluster(2), demand=(demand(2, triggers=False),))
    assert steps(decide(found, [FOUR])) == {"small-1": "cordon"}


def test_pods_that_would_move_need_room_elsewhere() -> None:
    """CoreDNS on a worker does not keep it for ever, but only if another node that stays can take it."""
    found = cluster(evictable=(shape(100), shape(100)))
    assert steps(decide(found, [FOUR])) == {}
    other = node("front", free={"cpu": 150, "memory": 8 * GIB, "pods": 10})
    assert steps(decide(replace(found, nodes={**found.nodes, "front": other}), [FOUR])) == {}
    other = replace(other, free={"cpu": 200, "memory": 8 * GIB, "pods": 10})
    assert steps(decide(replace(found, nodes={**found.nodes, "front": other}), [FOUR])) == {"small-0": "cordon"}


def test_of_two_nodes_that_could_take_each_others_pods_one_stays() -> None:
    assert len(steps(decide(cluster(2, evictable=(shape(100),)), [FOUR]))) == 1


def test_a_node_with_pods_that_would_move_is_no_spare() -> None:
    wanted = replace(FOUR, spares=1)
    assert [each.count for each in decide(cluster(evictable=(shape(100),)), [wanted]).launches] == [1]
    found = cluster(evictable=(shape(100),))
    empty = node("small-1", FOUR, idle_since=NOW - 10)
    machines = {**found.machines, "small-1": machine("small-1")}
    found = replace(found, nodes={**found.nodes, "small-1": empty}, machines=machines)
    assert steps(decide(found, [wanted])) == {"small-0": "cordon"}


def test_an_idle_node_that_is_not_ready_goes_whatever_the_minimum() -> None:
    found = cluster(4)
    nodes = {**found.nodes, "small-1": replace(found.nodes["small-1"], ready=False)}
    assert steps(decide(replace(found, nodes=nodes), [replace(FOUR, min=3)])) == {"small-1": "cordon"}


def test_machines_of_a_pool_that_is_not_configured_any_more_go() -> None:
    assert steps(decide(cluster(), [pool("other")])) == {"small-0": "cordon"}


# -- when nothing is removed -------------------------------------------------------------------------------------------


def everything(**fields: Any) -> ClusterSnapshot:
    """An idle node, one whose pause is over, and a machine that never joined."""
    names = ["small-0", "small-1"]
    nodes = [node(name, FOUR, idle_since=LONG, schedulable=name == "small-0") for name in names]
    machines = [
        machine("small-0"),
        machine("small-1", phase="draining"),
        machine("small-2", phase="starting", age=10_000),
    ]
    return snapshot((), nodes, machines, **fields)


def test_all_steps_at_once() -> None:
    assert steps(decide(everything(), [FOUR])) == {"small-0": "cordon", "small-1": "remove", "small-2": "give_up"}


def test_nothing_is_removed_while_the_api_is_away() -> None:
    decision = decide(everything(trustworthy=False), [FOUR])
    assert steps(decision) == {}
    assert "API server" in decision.removals_blocked_by


def test_nothing_is_removed_while_the_cloud_is_away() -> None:
    assert steps(decide(everything(clouds_away=frozenset({"cloud"})), [FOUR])) == {}


def test_nothing_is_removed_while_too_many_nodes_are_not_ready() -> None:
    found = everything()
    lost = {f"front-{number}": node(f"front-{number}", ready=False) for number in range(2)}
    decision = decide(replace(found, nodes={**found.nodes, **lost}), [FOUR])
    assert steps(decision) == {}
    assert decision.removals_blocked_by == "2 of 4 nodes are not ready, more than a share of 0.45"
    assert steps(decide(replace(found, nodes={**found.nodes, **lost}), [FOUR], Rules(unready_share=0.5)))


def test_new_machines_do_not_count_as_nodes_that_are_not_ready() -> None:
    found = everything()
    booting = node("small-2", FOUR, ready=False)
    machines = {**found.machines, "small-2": machine("small-2", phase="starting")}
    found = replace(found, nodes={**found.nodes, "small-2": booting}, machines=machines)
    assert decide(found, [FOUR], Rules(unready_share=0.3)).removals_blocked_by == ""


def test_work_is_still_taken_back_while_nothing_is_removed() -> None:
    found = replace(draining(60.0, jobs=1, idle_since=None), trustworthy=False)
    assert steps(decide(found, [FOUR])) == {"small-0": "uncordon"}
