# SPDX-License-Identifier: Apache-2.0
"""No work is ever killed: what is removed was looked at last, and whatever does not answer stops everything."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from parts.memory_cloud import Bench

from oscar_fedcloud.autoscaler.cluster import drain
from oscar_fedcloud.autoscaler.machines import reconcile_clouds as sync
from oscar_fedcloud.autoscaler.machines import removal
from oscar_fedcloud.autoscaler.names import NODES

NAME = "oscar-small-bbbbb"
SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "_PAUSE", 0.0)


async def cordoned(bench: Bench, name: str = NAME) -> None:
    await bench.machine(name, "draining", unschedulable=True)


async def compare(bench: Bench, **nodes: bool) -> None:
    await sync.CloudReconciler(bench.context, bench.cloud).run(nodes)


async def test_the_order_of_a_removal(bench: Bench) -> None:
    await cordoned(bench)
    await removal.remove(bench.context, [NAME], "idle")
    look = f"LIST /api/v1/pods?spec.nodeName={NAME}"
    assert bench.journal == [
        f"GET {NODES.path(NAME)}",
        look,
        "CLOUD machines",
        look,  # once more, when everything else is done
        f"PATCH /apis/oscar.fedcloud.eu/v1/oscarmachines/{NAME}",
        f"CLOUD delete {NAME}",
        f"DELETE {NODES.path(NAME)}",
    ]
    assert bench.phase(NAME) == "removing"
    await compare(bench)
    assert bench.phase(NAME) == ""  # only when the cloud does not list it any more


async def test_machines_of_one_cloud_are_deleted_in_one_request(bench: Bench) -> None:
    names = [f"oscar-small-{letter * 5}" for letter in "bcdfg"]
    for name in names:
        await cordoned(bench, name)
    await removal.remove(bench.context, names, "idle")
    assert bench.calls("delete") == ["CLOUD delete " + " ".join(names)]


BLOCKERS: list[tuple[dict[str, Any], str]] = [
    ({"owner": "Job"}, "of a Job has not ended"),
    ({"owner": "Job", "phase": "Pending"}, "of a Job has not ended"),
    ({"owner": "Job", "annotations": {SAFE: "true"}}, "of a Job has not ended"),
    ({"owner": ""}, "must not be evicted"),
    ({"owner": "ReplicaSet", "annotations": {SAFE: "false"}}, "must not be evicted"),
    ({"owner": "ReplicaSet", "volumes": [{"name": "data", "emptyDir": {}}]}, "must not be evicted"),
]


@pytest.mark.parametrize(("pod", "why"), BLOCKERS)
async def test_a_node_with_work_stays_and_takes_more(bench: Bench, pod: dict[str, Any], why: str) -> None:
    await cordoned(bench)
    bench.pod("work", NAME, **pod)
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.cloud.names() == [NAME]
    assert bench.calls("delete") == []
    assert bench.phase(NAME) == "joined"
    assert why in bench.context.machines.views()[NAME].reason
    node = bench.kube.has(NODES, NAME)
    assert node is not None
    assert "unschedulable" not in node["spec"]


HARMLESS: list[dict[str, Any]] = [
    {"owner": "DaemonSet"},
    {"owner": "Job", "phase": "Succeeded"},
    {"owner": "Job", "phase": "Failed"},
    {"owner": "Node", "annotations": {"kubernetes.io/config.mirror": "x"}},
]


@pytest.mark.parametrize("pod", HARMLESS)
async def test_what_goes_with_its_node_does_not_keep_it(bench: Bench, pod: dict[str, Any]) -> None:
    await cordoned(bench)
    bench.pod("harmless", NAME, **pod)
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.cloud.names() == []


@pytest.mark.parametrize("pod", [{"owner": "ReplicaSet"}, {"annotations": {SAFE: "true"}}])
async def test_what_may_leave_is_evicted_first(bench: Bench, pod: dict[str, Any]) -> None:
    await cordoned(bench)
    bench.pod("web", NAME, **pod)
    await removal.remove(bench.context, [NAME], "idle")
    evicted = bench.journal.index("POST /api/v1/namespaces/team/pods/web/eviction")
    assert evicted < bench.journal.index(f"CLOUD delete {NAME}")


async def test_a_pod_that_is_not_let_go_keeps_its_node(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> bool:
        return False  # as a PodDisruptionBudget makes it

    monkeypatch.setattr(drain, "_evict", refused)
    monkeypatch.setattr(drain, "_PAUSE", 0.01)
    bench.context.config = type(bench.context.config)(
        cluster="oscar", pools=bench.context.config.pools, clouds={}, drain_timeout=0.1
    )
    await cordoned(bench)
    bench.pod("web", NAME, owner="ReplicaSet")
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.cloud.names() == [NAME]
    assert bench.phase(NAME) == "joined"


async def test_a_job_that_comes_while_the_cloud_is_listed_keeps_its_node(bench: Bench) -> None:
    await cordoned(bench)

    def arrive(call: str) -> bool:
        bench.pod("late", NAME, owner="Job")
        return False

    bench.cloud.fails = arrive
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.calls("delete") == []
    assert bench.cloud.names() == [NAME]


async def test_a_node_that_somebody_uncordoned_stays(bench: Bench) -> None:
    await bench.machine(NAME, "draining")
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.cloud.names() == [NAME]
    assert bench.phase(NAME) == "joined"


async def test_a_node_that_somebody_protects_in_the_pause_stays(bench: Bench) -> None:
    await cordoned(bench)
    node = bench.kube.has(NODES, NAME)
    assert node is not None
    node["metadata"]["annotations"] = {"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.cloud.names() == [NAME]
    assert bench.phase(NAME) == "joined"


async def test_whoever_does_not_lead_deletes_nothing(bench: Bench) -> None:
    await cordoned(bench)
    bench.leading = False
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.calls("delete") == []
    assert bench.kube.has(NODES, NAME)


@pytest.mark.parametrize("broken", range(7))
async def test_whatever_does_not_answer_nothing_is_lost_and_the_next_try_ends_it(bench: Bench, broken: int) -> None:
    """The n-th step of a removal gets no answer. A node goes only with its VM, and in the end both are gone."""
    await cordoned(bench)
    steps = 0

    def fails(_: str) -> bool:
        nonlocal steps
        steps += 1
        return steps == broken + 1

    bench.kube.fails = bench.cloud.fails = fails
    await removal.remove(bench.context, [NAME], "idle")
    if NAME in bench.cloud.names():
        assert bench.kube.has(NODES, NAME)
    bench.kube.fails = bench.cloud.fails = lambda _: False
    bench.now += 60
    for _ in range(3):
        if bench.phase(NAME) == "draining":
            await removal.remove(bench.context, [NAME], "idle")
        with contextlib.suppress(*removal.FAILURES):
            await compare(bench, **({NAME: True} if bench.kube.has(NODES, NAME) else {}))
    assert bench.cloud.names() == []
    assert bench.kube.has(NODES, NAME) is None
    assert bench.phase(NAME) == ""


@pytest.mark.parametrize("broken", range(7))
async def test_whatever_does_not_answer_a_job_is_never_killed(bench: Bench, broken: int) -> None:
    await cordoned(bench)
    bench.pod("work", NAME, owner="Job")
    steps = 0

    def fails(_: str) -> bool:
        nonlocal steps
        steps += 1
        return steps == broken + 1

    bench.kube.fails = bench.cloud.fails = fails
    for _ in range(3):
        await removal.remove(bench.context, [NAME], "idle")
        with contextlib.suppress(*removal.FAILURES):
            await compare(bench, **{NAME: True})
        bench.now += 60
    assert bench.calls("delete") == []
    assert bench.kube.has(NODES, NAME)


async def test_a_deletion_that_a_restart_cut_off_looks_once_more(bench: Bench) -> None:
    """The object says ``removing``, the VM is still there; meanwhile work has come to its node after all."""
    await bench.machine(NAME, "removing", unschedulable=True)
    bench.pod("work", NAME, owner="Job")
    bench.now += 60
    await compare(bench, **{NAME: True})
    assert bench.cloud.names() == [NAME]


async def test_pools_may_stop_their_machines(tmp_path: Path) -> None:
    bench = Bench(tmp_path, stop_instead=True)
    await cordoned(bench)
    await removal.remove(bench.context, [NAME], "idle")
    assert bench.calls("stop") == [f"CLOUD stop {NAME}"]
    assert bench.calls("delete") == []
    assert bench.phase(NAME) == "stopped"
    assert bench.kube.has(NODES, NAME) is None


async def test_a_machine_that_never_joined_is_given_up_and_its_pool_rests(bench: Bench) -> None:
    await bench.machine(NAME, "starting", node=False)
    await removal.give_up(bench.context, NAME, "not Ready within 900 s", blames_pool=True)
    assert bench.cloud.names() == []
    assert bench.context.health.get("small").failures == 1
    await compare(bench)
    assert bench.phase(NAME) == ""


async def test_a_machine_that_joins_in_the_last_moment_stays(bench: Bench) -> None:
    await bench.machine(NAME, "joined")
    await bench.context.machines.set_phase(NAME, "starting", bench.now)
    await removal.give_up(bench.context, NAME, "too late", blames_pool=True)
    assert bench.cloud.names() == [NAME]
    assert bench.phase(NAME) == "joined"


async def test_a_machine_that_failed_in_its_cloud_is_deleted(bench: Bench) -> None:
    await bench.machine(NAME, "starting", vm=False, node=False)
    bench.cloud.add(NAME, state="failed", reason="no valid host was found")
    await compare(bench)
    assert bench.phase(NAME) == "failed"
    assert bench.context.health.get("small").reason == "no valid host was found"
    await compare(bench)
    await compare(bench)
    assert bench.cloud.names() == []
    assert bench.phase(NAME) == ""


async def test_a_vm_that_vanished_takes_its_node_with_it_but_not_at_once(bench: Bench) -> None:
    await bench.machine(NAME, "joined", vm=False)
    node = bench.kube.has(NODES, NAME)
    assert node is not None
    node["status"]["conditions"][0]["status"] = "Unknown"
    looks = sync.CloudReconciler(bench.context, bench.cloud)
    await looks.run({NAME: False})
    bench.now += 299
    await looks.run({NAME: False})
    assert bench.phase(NAME) == "joined"
    bench.now += 2
    await looks.run({NAME: False})
    assert bench.phase(NAME) == "failed"
    await looks.run({NAME: False})
    assert bench.phase(NAME) == ""
    assert bench.kube.has(NODES, NAME) is None


async def test_a_cloud_that_lists_nothing_takes_no_ready_node_away(bench: Bench) -> None:
    await bench.machine(NAME, "joined", vm=False)
    looks = sync.CloudReconciler(bench.context, bench.cloud)
    for _ in range(5):
        await looks.run({NAME: True})
        bench.now += 301
    assert bench.phase(NAME) == "joined"
    assert bench.kube.has(NODES, NAME)


async def test_a_machine_that_comes_back_takes_pods_again(bench: Bench) -> None:
    """Given up as vanished while it was cordoned; then its node is Ready after all."""
    await bench.machine(NAME, "joined", vm=False)
    await removal.cordon(bench.context, NAME, "idle")
    await bench.context.machines.set_phase(NAME, "failed", bench.now)
    await compare(bench, **{NAME: True})
    node = bench.kube.has(NODES, NAME)
    assert node is not None
    assert "unschedulable" not in node["spec"]
    assert bench.phase(NAME) == "joined"
