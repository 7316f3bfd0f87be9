# SPDX-License-Identifier: Apache-2.0
"""Reasons in words, decisions that are made again, and questions what would be if."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from parts.scaling import NOW, demand, machine, node, pool, shape, snapshot
from parts.scenes import scenes

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Decision, PoolHealth, Rules, SiteLimits, Taint
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.autoscaler.planning.explain import explain
from oscar_fedcloud.autoscaler.planning.recording import record, replay
from oscar_fedcloud.autoscaler.planning.whatif import parse_demand, what_if

FOUR = pool(max=2, price=0.5, watts=100.0)
GPU = pool("gpu", taints=(Taint("gpu", "yes"),))


def told(found: ClusterSnapshot, subject: str, *pools, rules: Rules | None = None) -> str:
    return explain(found, pools or (FOUR,), rules or Rules(), subject).text()


# -- Pods --------------------------------------------------------------------------------------------------------------


def test_a_pod_that_triggers_a_machine() -> None:
    front = node("front", free={"cpu": 500, "memory": 2**40, "pods": 9})
    text = told(snapshot([demand(3)], [front]), "ns/p-00001", FOUR, GPU)
    assert text.splitlines() == [
        "ns/p-00001: it triggers a machine of pool small",
        "  it asks for cpu 1, memory 1Gi, pods 1; 3 Pods are like it",
        "  node front: cpu 1 asked, 0.5 there",
        "  pool gpu: taint gpu=yes:NoSchedule is not tolerated",
        "  pool small: it fits, at most 1 more",
    ]


def test_a_pod_that_waits_for_a_machine_on_its_way() -> None:
    found = snapshot([demand(1)], machines=[machine("small-1", phase="starting")])
    assert "it waits for machine small-1, which is starting" in told(found, "ns/p-00000")


def test_a_pod_for_which_there_is_room() -> None:
    found = snapshot([demand(1)], [node("small-1", FOUR)], [machine("small-1")])
    assert "node small-1 has room for it" in told(found, "ns/p-00000")


def test_a_pod_that_no_pool_can_serve_with_the_reason_of_each() -> None:
    text = told(snapshot([demand(1, shape(9000))]), "ns/p-00000", FOUR, GPU)
    assert "it triggers no machine" in text
    assert "pool small: cpu 9 asked, 4 there" in text


def test_of_many_pods_the_first_are_served() -> None:
    found = snapshot([demand(10)])
    assert "triggers a machine of pool small" in told(found, "ns/p-00007")
    text = told(found, "ns/p-00008")
    assert "it triggers no machine" in text
    assert "max of the pool, 2, is reached" in text


def test_nodes_are_told_by_reason_with_a_few_names() -> None:
    nodes = [node(f"n{number}", free={"cpu": 0, "memory": 2**40, "pods": 9}) for number in range(5)]
    nodes += [node("out", ready=False), node("closed", schedulable=False)]
    text = told(snapshot([demand(1)], nodes), "ns/p-00000")
    assert "node n0, n1, n2 and 2 more: cpu 1 asked, 0 there" in text
    assert "node out: not ready" in text
    assert "node closed: cordoned" in text


# -- nodes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"idle_since": NOW - 10}, "idle for 10 s, it may go after 300 s"),
        ({"idle_since": NOW - 400}, "cordon: no work for 400 s"),
        ({"idle_since": None, "jobs": 2}, "2 Pods of Jobs run on it"),
        ({"idle_since": None, "non_evictable": 1}, "1 Pods on it must not be evicted"),
        ({"protected": "annotation x is set"}, "annotation x is set"),
        ({"schedulable": False}, "it was not cordoned by the autoscaler"),
    ],
)
def test_why_a_node_stays_or_goes(fields: dict, words: str) -> None:
    assert words in told(snapshot([], [node("small-1", FOUR, **fields)], [machine("small-1")]), "small-1")


def test_why_the_last_node_stays() -> None:
    found = snapshot([], [node("small-1", FOUR, idle_since=NOW - 400)], [machine("small-1")])
    assert "its pool's minimum" in told(found, "small-1", replace(FOUR, min=1))


def test_others_nodes_and_unknown_names() -> None:
    found = snapshot([], [node("front")])
    assert "the autoscaler does not manage it" in told(found, "front")
    assert explain(found, (FOUR,), Rules(), "ns/nosuch").known is False


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_what_is_explained_is_what_is_decided(scene: tuple[ClusterSnapshot, list]) -> None:
    found, pools = scene
    decision = decide(found, pools)
    launched = {pod for launch in decision.launches for pod in launch.pods}
    for each in found.demand:
        for pod in each.pods:
            triggers = "it triggers a machine of pool" in explain(found, pools, Rules(), pod).outcome
            assert triggers == (pod in launched)
    going = {each.machine: each.step.replace("_", " ") for each in decision.removals}
    for name in found.machines:
        outcome = explain(found, pools, Rules(), name).outcome
        assert outcome.startswith(going.get(name, "it "))


# -- record and replay -------------------------------------------------------------------------------------------------


@given(scenes())
@settings(max_examples=150, deadline=None)
def test_a_recorded_decision_is_made_again(scene: tuple[ClusterSnapshot, list]) -> None:
    found, pools = scene
    rules = Rules(SiteLimits(nodes=4))
    line = record(found, pools, rules, decide(found, pools, rules))
    assert line.count(b"\n") == 1
    again = replay(line)
    assert again.same
    assert again.snapshot == found
    assert again.text().startswith("the same decision:")


def test_a_record_holds_no_template_and_all_that_matters() -> None:
    secret = replace(FOUR, template={"password": "s3cr3t"})
    health = {"small": PoolHealth(NOW + 5, 1, "no room", 3)}
    found = snapshot([demand(2)], health=health, clouds_away=frozenset({"x"}), daemons=(shape(1),))
    line = record(found, (secret,), Rules(), decide(found, (secret,)))
    assert b"s3cr3t" not in line
    assert replay(line).snapshot == found


def test_another_decision_is_noticed() -> None:
    found = snapshot([demand(2)])
    other = replay(record(found, (FOUR,), Rules(), decide(snapshot([demand(5)]), (FOUR,))))
    assert not other.same
    assert "pool small: +2 machines" in other.text()
    assert "pool small: +1 machine (" in other.text()


def test_a_decision_recorded_by_an_earlier_version_is_made_again() -> None:
    again = replay((Path(__file__).parent / "records/version_1.jsonl").read_bytes())
    assert again.same
    assert "does not answer" in again.recorded.removals_blocked_by
    node = again.snapshot.nodes["oscar-small-b2c4d"]
    label = (("app", "x"),)
    assert (node.non_evictable, node.anti_affinity_on_node) == (1, (label,))
    assert [each.anti_affinity for each in node.evictable] == [(label,)]
    assert again.snapshot.demand[0].shape.anti_affinity == (label,)
    assert again.snapshot.health["small"].headroom == 1
    assert again.pools[0].startup_timeout == 600.0


def test_a_record_of_a_later_version_is_refused() -> None:
    line = record(snapshot(), (FOUR,), Rules(), Decision()).replace(b'"version":2', b'"version":3')
    with pytest.raises(ValueError, match="the record has version 3, this program reads versions 1 to 2"):
        replay(line)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"nonsense", b'{"version": 1}'])
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a recorded decision"):
        replay(line)


# -- what if -----------------------------------------------------------------------------------------------------------


def test_what_if_more_work_came() -> None:
    found = snapshot([], [node("small-1", FOUR, jobs=1, idle_since=None, free={})], [machine("small-1")])
    outlook = what_if(found, (FOUR,), Rules(), [parse_demand("6 x cpu=1,memory=1Gi")])
    assert outlook.nodes == {"small": 2}
    assert (outlook.price_per_hour, outlook.watts) == (1.0, 200.0)
    assert outlook.refusals[0].count == 2
    assert outlook.text().splitlines() == [
        "pool small: +1 machine (4 Pods have no room)",
        "2 Pods cannot be scheduled (pool small: max of the pool, 2, is reached)",
        "then: 2 in pool small",
        "price of an hour: 1",
        "power: 200 W",
    ]


def test_demand_as_people_write_it() -> None:
    found = parse_demand("500 x cpu=2, memory=4Gi, nvidia.com/gpu=1")
    assert found.count == 500
    assert dict(found.shape.requests) == {"cpu": 2000, "memory": 4 * 2**30, "nvidia.com/gpu": 1, "pods": 1}


@pytest.mark.parametrize("text", ["", "500", "x cpu=1", "0 x cpu=1", "5 x cpu", "5 x cpu=much", "-1 x cpu=1"])
def test_what_is_no_demand_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for example|is not a quantity"):
        parse_demand(text)
