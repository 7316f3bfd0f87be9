# SPDX-License-Identifier: Apache-2.0
"""What is asked for, and what is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from parts.scaling import GIB, NOW, demand, machine, node, pool, shape, snapshot

from oscar_fedcloud.autoscaler.model import (
    NAMESPACE,
    Demand,
    PoolHealth,
    Requirement,
    Rules,
    SiteLimits,
    Taint,
    Toleration,
)
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.autoscaler.planning.pool_health import failed, succeeded, with_headroom


def launched(decision) -> dict[str, int]:
    return {launch.pool: launch.count for launch in decision.launches}


def test_from_zero_in_one_batch() -> None:
    """500 Pods of one core on nodes of four: one request for 125 machines, which names all the Pods."""
    decision = decide(snapshot([demand(500)]), [pool(max=1000)])
    assert launched(decision) == {"small": 125}
    assert len(decision.launches[0].pods) == 500
    assert decision.refusals == ()


def test_nothing_is_asked_for_without_demand() -> None:
    assert decide(snapshot(), [pool()]).launches == ()


def test_room_on_nodes_is_used_first() -> None:
    four = pool()
    free = {"cpu": 2500, "memory": 16 * GIB, "pods": 100}
    nodes = [node("other", free=free, jobs=1, idle_since=None), node("small-1", four)]
    found = snapshot([demand(7)], nodes, [machine("small-1")])
    assert launched(decide(found, [four])) == {"small": 1}
    assert launched(decide(replace(found, demand=(demand(6),)), [four])) == {}


@pytest.mark.parametrize("broken", [{"ready": False}, {"schedulable": False}])
def test_no_room_on_nodes_that_take_no_pods(broken: dict[str, bool]) -> None:
    found = snapshot([demand(1)], [node("small-1", pool(), **broken)])
    assert launched(decide(found, [pool()], Rules(unready_share=1.0))) == {"small": 1}


def test_what_a_cloud_may_never_have_heard_of_is_not_waited_for() -> None:
    """A request that hangs does not keep Pods from the next pool; a machine that boots is not asked for twice."""
    pools, away = [pool(cloud="away"), pool("other")], frozenset({"away"})
    asked = snapshot([demand(1)], machines=[machine("small-1", phase="asked")], clouds_away=away)
    assert launched(decide(asked, pools)) == {"other": 1}
    starting = replace(asked, machines={"small-1": machine("small-1", phase="starting")})
    assert launched(decide(starting, pools)) == {}


@pytest.mark.parametrize("phase", ["asked", "starting"])
def test_machines_on_their_way_count(phase) -> None:
    machines = [machine("small-1", phase=phase), machine("small-2", phase=phase)]
    assert launched(decide(snapshot([demand(8)], machines=machines), [pool()])) == {}
    assert launched(decide(snapshot([demand(9)], machines=machines), [pool()])) == {"small": 1}


def test_a_machine_whose_node_is_ready_counts_once() -> None:
    four = pool()
    found = snapshot([demand(8)], [node("small-1", four)], [machine("small-1", phase="starting")])
    assert launched(decide(found, [four])) == {"small": 1}


def test_failed_and_removed_machines_are_no_room() -> None:
    four = pool()
    machines = [machine("small-1", phase="failed"), machine("small-2", phase="removing")]
    found = snapshot([demand(4)], [node("small-2", four)], machines)
    assert launched(decide(found, [four])) == {"small": 1}


def test_daemonsets_take_their_part_of_new_nodes() -> None:
    daemons = (shape(500), shape(4000, node_selector=(("gpu", "yes"),)))
    assert launched(decide(snapshot([demand(8)], daemons=daemons), [pool()])) == {"small": 3}


def test_young_pods_ask_for_nothing_but_have_room() -> None:
    """What the scheduler has not looked at yet neither asks for nodes nor takes room from what waits."""
    young = demand(3, name="new", triggers=False)
    four = pool()
    assert launched(decide(snapshot([young]), [four])) == {}
    found = snapshot([young, demand(4)], [node("small-1", four)], [machine("small-1")])
    assert launched(decide(found, [four])) == {}


def test_young_pods_come_along_when_others_like_them_find_no_room() -> None:
    """One request for a burst, of which the scheduler has seen a part; Pods of another shape still wait for it."""
    other = demand(4, shape(4000), "other", triggers=False)
    found = snapshot([demand(7, name="new", triggers=False), demand(1), other])
    assert launched(decide(found, [pool()])) == {"small": 2}


def test_backlog_is_demand() -> None:
    assert launched(decide(snapshot([Demand(shape(), 9, service="grayify")]), [pool()])) == {"small": 3}


def test_max_and_what_has_no_place() -> None:
    decision = decide(snapshot([demand(12)]), [pool(max=2)])
    assert launched(decision) == {"small": 2}
    refusal = decision.refusals[0]
    assert refusal.count == len(refusal.pods) == 4
    assert refusal.reasons == {"small": "max of the pool, 2, is reached"}
    assert not set(refusal.pods) & set(decision.launches[0].pods)


@pytest.mark.parametrize(
    ("limits", "nodes"),
    [(SiteLimits(nodes=3), 3), (SiteLimits(cpu=9000), 2), (SiteLimits(memory=17 * GIB), 1), (SiteLimits(cpu=3000), 0)],
)
def test_limits_of_the_cluster(limits: SiteLimits, nodes: int) -> None:
    decision = decide(snapshot([demand(100)]), [pool(max=50)], Rules(limits))
    assert sum(launched(decision).values()) == nodes
    assert "of the cluster is reached" in decision.refusals[0].reasons["small"]


def test_limits_count_what_is_there() -> None:
    machines = [machine("small-1", phase="removing"), machine("big-1", "big"), machine("small-2", phase="stopped")]
    found = snapshot([demand(100)], machines=machines)
    pools = [pool(max=50), pool("big", 8000, priority=-1)]
    assert launched(decide(found, pools, Rules(SiteLimits(nodes=5)))) == {"small": 3}


# -- where -------------------------------------------------------------------------------------------------------------


def test_gpus_selectors_and_taints_choose_the_pool() -> None:
    gpu = pool("gpu", capacity={"nvidia.com/gpu": 2}, labels={"kind": "gpu"}, taints=(Taint("gpu", "yes"),))
    tolerant = shape(gpus=1, tolerations=(Toleration("gpu", "Equal", "yes", "NoSchedule"),))
    decision = decide(snapshot([demand(3, tolerant, "g"), demand(1)]), [pool(), gpu])
    assert launched(decision) == {"gpu": 2, "small": 1}


def test_reasons_of_each_pool() -> None:
    gpu = pool("gpu", taints=(Taint("gpu", "yes"),))
    zoned = shape(node_selector=(("zone", "b"),))
    decision = decide(snapshot([demand(1, shape(8000), "large"), demand(1, zoned, "zoned")]), [pool(), gpu])
    by_pod = {refusal.pods[0]: refusal.reasons for refusal in decision.refusals}
    assert by_pod["ns/large-00000"] == {
        "small": "cpu 8 asked, 4 there",
        "gpu": "taint gpu=yes:NoSchedule is not tolerated",
    }
    assert by_pod["ns/zoned-00000"]["small"] == "the node has no label zone=b"


def test_what_is_not_simulated_triggers_nothing_and_says_so() -> None:
    odd = shape(unsupported=("required podAffinity",))
    decision = decide(snapshot([demand(2, odd)]), [pool()])
    assert decision.launches == ()
    assert decision.refusals[0].reasons == {"small": "not simulated: required podAffinity"}


def test_labels_that_every_kubelet_sets() -> None:
    wanted = shape(
        node_selector=(("kubernetes.io/arch", "amd64"),),
        terms=((Requirement("oscar.fedcloud.eu/pool", "In", ("small",)), Requirement("kubernetes.io/os", "Exists")),),
    )
    assert launched(
        decide(snapshot([demand(1, wanted)]), [pool(), pool("arm", labels={"kubernetes.io/arch": "x"})])
    ) == {"small": 1}


def test_priority_then_price_then_waste() -> None:
    first, cheap, dear = pool("first", priority=1), pool("cheap", price=1.0), pool("a-dear", price=2.0)
    found = snapshot([demand(4)])
    assert launched(decide(found, [dear, cheap, first])) == {"first": 1}
    assert launched(decide(found, [dear, cheap])) == {"cheap": 1}
    big, gpu = pool("big", 16000, 64 * GIB), pool("a-gpu", capacity={"nvidia.com/gpu": 1})
    assert launched(decide(found, [big, gpu, pool()])) == {"small": 1}


def test_a_larger_node_is_taken_where_it_is_cheaper() -> None:
    small, big = pool(price=1.0), pool("big", 16000, 64 * GIB, price=3.0)
    assert launched(decide(snapshot([demand(16)]), [small, big])) == {"big": 1}
    assert launched(decide(snapshot([demand(3)]), [small, big])) == {"small": 1}


def test_overflow_into_the_next_pool() -> None:
    pools = [pool(priority=1, max=2), pool("other", 8000)]
    assert launched(decide(snapshot([demand(12)]), pools)) == {"small": 2, "other": 1}


# -- failures and quotas -----------------------------------------------------------------------------------------------


def test_after_a_failure_the_next_pool_is_used_until_the_rest_is_over() -> None:
    pools = [pool(priority=1), pool("other")]
    health = {"small": failed(PoolHealth(), NOW, "no valid host was found")}
    found = snapshot([demand(1)], health=health)
    assert launched(decide(found, pools)) == {"other": 1}
    assert launched(decide(replace(found, now=NOW + 31), pools)) == {"small": 1}
    refusal = decide(found, pools[:1]).refusals[0]
    until = datetime.fromtimestamp(NOW + 30, UTC).strftime("%H:%M:%S")
    assert (
        refusal.reasons["small"]
        == f"after a failed launch the pool is closed until {until} UTC: no valid host was found"
    )


def test_rests_grow_up_to_a_bound_and_end_with_a_success() -> None:
    health = PoolHealth()
    rests = []
    for _ in range(9):
        health = failed(health, NOW, "no room")
        rests.append(health.closed_until - NOW)
    assert rests == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert succeeded(health) == PoolHealth()


@pytest.mark.parametrize("until", [1e300, NOW + 86_400, -1e300])
def test_a_rest_that_no_right_clock_wrote_is_over(until: float) -> None:
    found = snapshot([demand(1)], health={"small": PoolHealth(closed_until=until, failures=3, reason="r")})
    assert launched(decide(found, [pool()])) == {"small": 1}


@pytest.mark.parametrize("failures", [-(10**400), -1, 10**400])
def test_any_number_of_failures_has_a_rest(failures: int) -> None:
    assert 0 < failed(PoolHealth(failures=failures), NOW, "r").closed_until - NOW <= 1800


def test_quota_asked_beforehand() -> None:
    pools = [pool(priority=1), pool("other")]
    health = {"small": with_headroom(PoolHealth(), 1, "cores: 36 of 40 used")}
    assert launched(decide(snapshot([demand(8)], health=health), pools)) == {"small": 1, "other": 1}
    refusal = decide(snapshot([demand(8)], health=health), pools[:1]).refusals[0]
    assert "cores: 36 of 40 used" in refusal.reasons["small"]


def test_a_cloud_that_does_not_answer_is_left_out() -> None:
    pools = [pool(priority=1, cloud="away"), pool("other")]
    assert launched(decide(snapshot([demand(1)], clouds_away=frozenset({"away"})), pools)) == {"other": 1}


def test_a_machine_that_never_joins_is_given_up_and_the_next_pool_used() -> None:
    late = machine("small-1", phase="starting", age=901)
    pools = [pool(priority=1), pool("other")]
    decision = decide(snapshot([demand(1)], machines=[late]), pools)
    assert [(each.machine, each.step, each.blames_pool) for each in decision.removals] == [("small-1", "give_up", True)]
    assert launched(decision) == {"other": 1}


def test_where_others_joined_since_it_is_replaced_at_once() -> None:
    machines = [machine("small-1", phase="starting", age=901), machine("small-2", age=100)]
    found = snapshot([demand(1)], [node("small-2", pool(), free={}, jobs=1, idle_since=None)], machines)
    decision = decide(found, [pool(), pool("other", priority=-1)])
    assert [(each.step, each.blames_pool) for each in decision.removals] == [("give_up", False)]
    assert launched(decision) == {"small": 1}


def test_a_stopped_machine_that_is_started_again_has_its_time_anew() -> None:
    again = replace(machine("small-1", phase="starting", age=10), asked=NOW - 100_000)
    assert decide(snapshot([demand(1)], machines=[again]), [pool()]).removals == ()


def test_gpus_of_a_young_node_are_waited_for() -> None:
    """Its device plugin tells of them some time after the node is ready; until then nothing else is asked for."""
    gpu = pool("gpu", capacity={"nvidia.com/gpu": 1})
    young = node("gpu-1", gpu, free={"cpu": 4000, "memory": 16 * GIB, "pods": 110})
    found = snapshot([demand(1, shape(gpus=1))], [young], [machine("gpu-1", "gpu", age=30)])
    assert launched(decide(found, [gpu])) == {}
    assert launched(decide(replace(found, machines={"gpu-1": machine("gpu-1", "gpu", age=901)}), [gpu])) == {"gpu": 1}
    taken = replace(young, free={**young.free, "nvidia.com/gpu": 0})
    assert launched(decide(replace(found, nodes={"gpu-1": taken}), [gpu])) == {"gpu": 1}


def test_a_machine_within_its_time_is_waited_for() -> None:
    found = snapshot([demand(1)], machines=[machine("small-1", phase="starting", age=899)])
    assert decide(found, [pool()]).removals == ()


# -- minimums and spares -----------------------------------------------------------------------------------------------


def test_minimum_and_spares_are_kept_ready() -> None:
    assert launched(decide(snapshot(), [pool(min=2)])) == {"small": 2}
    assert launched(decide(snapshot(), [pool(min=1, spares=3)])) == {"small": 3}
    machines = [machine("small-1"), machine("small-2", phase="starting")]
    four = pool(spares=2)
    busy = snapshot([], [node("small-1", four, jobs=1, idle_since=None)], machines)
    assert launched(decide(busy, [four])) == {"small": 1}
    idle = snapshot([], [node("small-1", four)], machines)
    assert launched(decide(idle, [four])) == {}
    assert launched(decide(replace(idle, demand=(demand(1),)), [four])) == {"small": 1}


def test_scheduled_minimum() -> None:
    """NOW is a Friday, 08:00 UTC."""
    scheduled = pool(minimums=(("0 7 * * mon-fri", 3), ("0 18 * * *", 0), ("0 20 1 1 *", 7)))
    assert launched(decide(snapshot(), [scheduled])) == {"small": 3}
    assert launched(decide(snapshot(now=NOW + 10 * 3600), [scheduled])) == {}
    assert launched(decide(snapshot(now=NOW + 24 * 3600), [scheduled])) == {}, "Saturday"
    west = replace(scheduled, timezone="America/Lima")
    assert launched(decide(snapshot(), [west])) == {}


def test_stopped_machines_are_started_first() -> None:
    stopped = [machine("small-1", phase="stopped"), machine("small-2", phase="stopped")]
    decision = decide(snapshot([demand(12)], machines=stopped), [pool(stop_instead=True)])
    assert decision.launches[0].count == 3
    assert decision.launches[0].resume == ("small-1", "small-2")


# -- anti-affinity -----------------------------------------------------------------------------------------------------


def test_pods_that_stay_apart() -> None:
    label = (("app", "x"), (NAMESPACE, "ns"))
    alone = shape(100, labels=label, anti_affinity=(label,))
    assert launched(decide(snapshot([demand(3, alone)]), [pool()])) == {"small": 3}
    four = pool()
    taken = node("small-1", four, pod_labels=(label,), anti_affinity_on_node=(label,), jobs=1, idle_since=None)
    found = snapshot([demand(1, alone)], [taken], [machine("small-1")])
    assert launched(decide(found, [four])) == {"small": 1}
    other = shape(100, labels=((NAMESPACE, "else"),), anti_affinity=((("app", "x"), (NAMESPACE, "else")),))
    assert launched(decide(replace(found, demand=(demand(1, other),)), [four])) == {}
