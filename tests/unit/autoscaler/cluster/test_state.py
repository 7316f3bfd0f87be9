# SPDX-License-Identifier: Apache-2.0
"""The picture of the cluster, object by object."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from oscar_fedcloud.autoscaler.cluster.backlog import InvokerBacklogRow, parse
from oscar_fedcloud.autoscaler.cluster.objects import DaemonSet, Job, Node
from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.cluster.state import State
from oscar_fedcloud.autoscaler.model import NAMESPACE, ClusterSnapshot

UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
SERVICE = "oscar.fedcloud.eu/service"


class Clock:
    """A time that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> State:
    return State(clock)


def make(kind: type[Any], document: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(document), type=kind)


def node(name: str = "n1", *, ready: bool = True, **spec: Any) -> Node:
    conditions = [{"type": "Ready", "status": "True" if ready else "Unknown"}]
    return make(
        Node,
        {
            "metadata": {"name": name, "labels": {"oscar.fedcloud.eu/pool": "small"}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "3920m", "memory": "1.5Gi", "pods": "110"}, "conditions": conditions},
        },
    )


@pytest.mark.parametrize("amount", ["1e30", "9" * 5000, "-1", "NaN", "", "many", 1e300])
def test_a_node_that_says_odd_things_stops_nothing(state: State, amount: str | float) -> None:
    odd = node("odd")
    odd.status.allocatable = {"cpu": "2", "example.org/odd": amount}
    state.node("ADDED", odd)
    state.node("ADDED", node("good"))
    views = state.views()
    assert views["odd"].free == {"cpu": 2000, "example.org/odd": 0}
    assert views["good"].free["cpu"] == 3920


def template(cpu: str, **spec: Any) -> dict[str, Any]:
    return {"containers": [{"resources": {"requests": {"cpu": cpu}}}], **spec}


def pod(name: str, where: str = "", *, owner: str = "Job", cpu: str = "1", job: str = "", **more: Any) -> Pod:
    owners = [{"kind": owner, "name": job or f"job-{name}", "controller": True}]
    status = {"phase": more.pop("phase", "Pending"), "conditions": [] if where else [UNSCHEDULABLE]}
    metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "ownerReferences": owners}
    metadata["labels"] = more.pop("labels", {})
    spec = template(cpu, **({"nodeName": where} if where else {}), **more)
    return make(Pod, {"metadata": metadata, "spec": spec, "status": status})


def job(name: str, created: str = "1970-01-01T00:16:40Z", **status: Any) -> Job:
    metadata = {"name": name, "namespace": "ns", "creationTimestamp": created, "labels": {SERVICE: "grayify"}}
    return make(Job, {"metadata": metadata, "spec": {"template": {"spec": template("1")}}, "status": status})


def look(state: State) -> ClusterSnapshot:
    return state.snapshot(1000.0, machines={}, health={})


def test_a_node_with_what_is_free_on_it(state: State) -> None:
    state.node("ADDED", node(providerID="oscar://c/n1", taints=[{"key": "gpu", "value": "x", "effect": "NoSchedule"}]))
    state.pod("ADDED", pod("a", "n1"))
    state.pod("ADDED", pod("b", "n1", owner="DaemonSet", cpu="100m"))
    found = look(state).nodes["n1"]
    assert found.free == {"cpu": 2820, "memory": 1536 * 2**20, "pods": 108}
    assert (found.pool, found.ready, found.schedulable, found.provider_id) == ("small", True, True, "oscar://c/n1")
    assert (found.jobs, found.non_evictable, found.evictable) == (1, 0, ())
    assert found.taints[0].key == "gpu"


def test_what_ended_or_went_takes_no_room(state: State) -> None:
    state.node("ADDED", node())
    state.pod("ADDED", pod("a", "n1"))
    state.pod("ADDED", pod("b", "n1"))
    state.pod("MODIFIED", pod("a", "n1", phase="Succeeded"))
    state.pod("DELETED", pod("b", "n1"))
    assert look(state).nodes["n1"].free["cpu"] == 3920


def test_pods_may_be_seen_before_their_node(state: State) -> None:
    state.pod("ADDED", pod("a", "n1"))
    assert look(state).nodes == {}
    state.node("ADDED", node())
    assert look(state).nodes["n1"].jobs == 1
    state.node("DELETED", node())
    assert look(state).nodes == {}
    state.pod("DELETED", pod("a", "n1"))
    assert state.nodes == {}


def test_standing_of_a_node(state: State) -> None:
    taints = [{"key": f"node.kubernetes.io/{key}", "effect": "NoSchedule"} for key in ("not-ready", "unschedulable")]
    state.node("ADDED", node(ready=False, unschedulable=True, taints=taints))
    found = look(state).nodes["n1"]
    assert (found.ready, found.schedulable, found.taints) == (False, False, ())


def test_since_when_a_node_is_idle(state: State, clock: Clock) -> None:
    """DaemonSets and what may move do not count; a Job that came and went between two looks does."""
    state.node("ADDED", node())
    assert look(state).nodes["n1"].idle_since == 1000.0
    clock.now = 1010.0
    state.pod("ADDED", pod("d", "n1", owner="DaemonSet"))
    state.pod("ADDED", pod("r", "n1", owner="ReplicaSet"))
    state.node("MODIFIED", node())
    assert look(state).nodes["n1"].idle_since == 1000.0
    assert len(look(state).nodes["n1"].evictable) == 1
    state.pod("ADDED", pod("a", "n1"))
    assert look(state).nodes["n1"].idle_since is None
    clock.now = 1020.0
    state.pod("DELETED", pod("a", "n1"))
    assert look(state).nodes["n1"].idle_since == 1020.0
    clock.now = 1030.0
    state.pod("ADDED", pod("b", "n1"))
    state.pod("DELETED", pod("b", "n1"))
    assert look(state).nodes["n1"].idle_since == 1030.0


def test_pods_that_wait_by_shape(state: State) -> None:
    for name in ("b", "a"):
        state.pod("ADDED", pod(name))
    state.pod("ADDED", pod("large", cpu="3"))
    demands = {each.count: each for each in look(state).demand}
    assert demands[2].pods == ("ns/a", "ns/b")
    assert demands[1].pods == ("ns/large",)
    state.pod("MODIFIED", pod("a", "n1"))
    state.pod("DELETED", pod("large", cpu="3"))
    assert [each.pods for each in look(state).demand] == [("ns/b",)]


def test_only_what_a_decision_should_see_soon_wakes_it(state: State) -> None:
    def wakes(kind: str, *arguments: Any) -> bool:
        state.changed.clear()
        getattr(state, kind)(*arguments)
        return state.changed.is_set()

    assert wakes("node", "ADDED", node())
    assert not wakes("node", "MODIFIED", node())
    assert wakes("node", "MODIFIED", node(ready=False))
    assert wakes("node", "MODIFIED", node(unschedulable=True))
    assert wakes("pod", "ADDED", pod("a"))
    assert not wakes("pod", "MODIFIED", pod("a"))
    assert not wakes("pod", "MODIFIED", pod("a", "n1"))
    assert not wakes("pod", "DELETED", pod("a", "n1"))
    assert wakes("node", "DELETED", node())


def test_daemonsets_are_shapes(state: State) -> None:
    document = {
        "metadata": {"name": "flannel", "namespace": "kube-flannel"},
        "spec": {"template": {"spec": template("100m")}},
    }
    state.daemon_set("ADDED", make(DaemonSet, document))
    assert dict(look(state).daemons[0].requests) == {"cpu": 100, "pods": 1}
    assert any(each.key == "node.kubernetes.io/disk-pressure" for each in look(state).daemons[0].tolerations)
    state.daemon_set("DELETED", make(DaemonSet, document))
    assert look(state).daemons == ()


def test_anti_affinity_makes_labels_matter(state: State) -> None:
    """Labels are looked at only while some Pod's anti-affinity does, also those of Pods that came before it."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    labels = (("app", "a"), (NAMESPACE, "ns"))
    state.node("ADDED", node())
    state.pod("ADDED", pod("old", "n1", labels={"app": "a", "other": "x"}))
    state.pod("ADDED", pod("waits", labels={"app": "a"}))
    assert look(state).nodes["n1"].pod_labels == ()
    state.pod("ADDED", pod("lonely", "n1", affinity=affinity))
    found = look(state)
    assert set(found.nodes["n1"].pod_labels) == {labels, ((NAMESPACE, "ns"),)}
    assert found.nodes["n1"].anti_affinity_on_node == (labels,)
    assert found.demand[0].shape.labels == labels
    state.pod("DELETED", pod("lonely", "n1", affinity=affinity))
    found = look(state)
    assert (found.nodes["n1"].pod_labels, found.nodes["n1"].anti_affinity_on_node, found.demand[0].shape.labels) == (
        (),
        (),
        (),
    )


# -- Jobs and the backlog ----------------------------------------------------------------------------------------------


def counts(state: State, now: float = 1001.0) -> dict[str, int]:
    return {each.service: each.count for each in state.snapshot(now, machines={}, health={}).demand}


def test_a_job_counts_until_its_pod_is_there(state: State) -> None:
    state.job("ADDED", job("j1"))
    state.job("ADDED", job("j2"))
    assert counts(state) == {"": 2}
    state.pod("ADDED", pod("p1", job="j1"))
    assert sum(each.count for each in look(state).demand) == 2, "one Job without a Pod, and the Pod of the other"
    state.job("MODIFIED", job("j2", active=1))
    assert [each.pods for each in look(state).demand] == [("ns/p1",)]


def test_a_pod_may_be_seen_before_its_job(state: State) -> None:
    state.pod("ADDED", pod("p1", job="j1"))
    state.job("ADDED", job("j1"))
    assert sum(each.count for each in look(state).demand) == 1


def test_the_pods_that_a_parallel_job_has_not_got_yet_count(state: State) -> None:
    parallel = job("j1")
    parallel.spec.parallelism = 5
    state.job("ADDED", parallel)
    assert sum(each.count for each in look(state).demand) == 5
    for number in range(3):
        state.pod("ADDED", pod(f"p{number}", job="j1"))
    assert sum(each.count for each in look(state).demand) == 5, "three Pods, and two that are still to come"
    parallel.status.active = 5
    state.job("MODIFIED", parallel)
    assert sum(each.count for each in look(state).demand) == 3


def test_nothing_is_kept_of_a_job_whose_pod_goes_after_it(state: State) -> None:
    ended = pod("p1", "n1", job="j1", phase="Succeeded")
    state.job("ADDED", job("j1"))
    state.pod("ADDED", pod("p1", "n1", job="j1"))
    state.pod("MODIFIED", ended)
    state.job("DELETED", job("j1"))
    state.pod("MODIFIED", ended)
    state.pod("DELETED", ended)
    state.job("ADDED", job("j1"))
    assert counts(state) == {"": 1}, "a Job of the same name has no Pod yet"


@pytest.mark.parametrize(
    "status", [{"succeeded": 1}, {"failed": 1}, {"conditions": [{"type": "Failed", "status": "True"}]}]
)
def test_jobs_that_have_run_do_not_count(state: State, status: dict[str, Any]) -> None:
    state.job("ADDED", job("j1", **status))
    assert look(state).demand == ()


def test_a_job_whose_pod_does_not_come_does_not_count_for_ever(state: State) -> None:
    state.job("ADDED", job("j1"))
    assert counts(state, 1059.0) == {"": 1}
    assert counts(state, 1061.0) == {}


def rows(count: int) -> list[InvokerBacklogRow]:
    body = {"requests": {"cpu": "500m", "memory": "256Mi"}, "services": {"grayify": count}, "node_selector": {"a": "b"}}
    return parse(msgspec.json.encode({"backlog": [body]}))


def test_the_backlog_is_demand_of_its_service(state: State) -> None:
    state.jobs.ask(1000.0)
    assert state.jobs.answer(rows(3))
    found = look(state).demand[0]
    assert (found.service, found.count, found.shape.node_selector) == ("grayify", 3, (("a", "b"),))
    assert dict(found.shape.requests) == {"cpu": 500, "memory": 256 * 2**20, "pods": 1}
    assert not state.jobs.answer(rows(3))


def test_jobs_made_since_the_backlog_was_asked_for_do_not_count_twice(state: State, clock: Clock) -> None:
    """Nor those that were made a moment before, of which the invoker may not know yet that they were."""
    state.job("ADDED", job("before", active=1))
    clock.now = 1010.0
    state.jobs.ask(clock.now)
    state.job("ADDED", job("meanwhile", active=1))
    state.jobs.answer(rows(3))
    assert counts(state) == {"grayify": 2}
    state.job("ADDED", job("after", active=1))
    state.job("MODIFIED", job("after", active=1))
    assert counts(state) == {"grayify": 1}
    clock.now = 1010.4
    state.jobs.ask(clock.now)
    state.jobs.answer(rows(3))
    assert counts(state) == {"grayify": 1}
    clock.now = 1011.0
    state.jobs.ask(clock.now)
    state.jobs.answer(rows(3))
    assert counts(state) == {"grayify": 3}


# -- the picture stays true --------------------------------------------------------------------------------------------


def test_what_a_new_list_does_not_hold_is_forgotten(state: State) -> None:
    for name in ("n1", "n2"):
        state.node("ADDED", node(name))
    for name in ("a", "b"):
        state.pod("ADDED", pod(name, "n1"))
    state.pod("ADDED", pod("c"))
    state.job("ADDED", job("j1"))
    state.keep_only("nodes", {"n1"})
    state.keep_only("pods", {"ns/a"})
    state.keep_only("jobs", set())
    found = look(state)
    assert list(found.nodes) == ["n1"]
    assert found.nodes["n1"].jobs == 1
    assert found.demand == ()


def test_any_order_of_changes_leads_to_the_same_picture(clock: Clock) -> None:
    """Against a picture made anew from what there is in the end."""
    chance = random.Random(5)
    for _ in range(50):
        state, there = State(clock), {}
        for number in range(3):
            state.node("ADDED", node(f"n{number}"))
        for _ in range(60):
            name = f"p{chance.randrange(8)}"
            if chance.random() < 0.3:
                if there.pop(name, None):
                    state.pod("DELETED", pod(name))
            else:
                where = chance.choice(["", "n0", "n1", "n2"])
                owner = chance.choice(["Job", "ReplicaSet", "DaemonSet"])
                there[name] = {"where": where, "owner": owner, "cpu": chance.choice(["100m", "200m"])}
                state.pod("MODIFIED", pod(name, **there[name]))
            look(state)
        fresh = State(clock)
        for number in range(3):
            fresh.node("ADDED", node(f"n{number}"))
        for name, fields in there.items():
            fresh.pod("ADDED", pod(name, **fields))
        one, other = look(state), look(fresh)
        assert one.nodes == other.nodes
        assert {each.shape: each for each in one.demand} == {each.shape: each for each in other.demand}
        assert state.usage() == fresh.usage()


def test_uses_of_services(state: State) -> None:
    state.node("ADDED", node())
    state.pod("ADDED", pod("a", "n1", labels={SERVICE: "grayify"}))
    state.pod("ADDED", pod("b", "n1", labels={SERVICE: "grayify"}, cpu="500m"))
    state.pod("ADDED", pod("d", "n1", owner="DaemonSet"))
    assert state.usage() == {"n1": {"grayify": 1500}}
    found = state.find_pod("ns/a")
    assert found is not None
    assert (found.uid, found.service) == ("uid-a", "grayify")
