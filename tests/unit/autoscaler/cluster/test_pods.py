# SPDX-License-Identifier: Apache-2.0
"""From Pods as Kubernetes shows them to what decisions count."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.model import Requirement, SchedulingGroup, Taint, Toleration
from oscar_fedcloud.autoscaler.planning.fits import count_fit, kept_away, untolerated
from oscar_fedcloud.autoscaler.quantities import available, parse_quantity, requested, show_all


def decode(spec: dict[str, Any], metadata: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> Pod:
    """A Pod as it comes out of the watch."""
    named = {"name": "p", "namespace": "ns", **(metadata or {})}
    return msgspec.json.decode(msgspec.json.encode({"metadata": named, "spec": spec, "status": status or {}}), type=Pod)


def container(cpu: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu} if cpu else {}}, **more}


def requests(spec: dict[str, Any]) -> dict[str, int]:
    return dict(decode(spec).shape.requests)


# -- quantities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "resource", "amount"),
    [
        ("3920m", "cpu", 3920),
        ("0.1", "cpu", 100),
        ("1.5", "cpu", 1500),
        (2, "cpu", 2000),
        ("1.5Gi", "memory", 1610612736),
        ("128974848", "memory", 128974848),
        ("129e6", "memory", 129_000_000),
        ("123Mi", "memory", 123 * 2**20),
        ("128974848000m", "memory", 128974848),
        ("1E", "memory", 10**18),
        ("1Ei", "memory", 2**60),
        ("2", "nvidia.com/gpu", 2),
    ],
)
def test_quantities_are_exact(text: str, resource: str, amount: int) -> None:
    assert parse_quantity(text, resource, up=True) == parse_quantity(text, resource, up=False) == amount


def test_what_is_asked_is_rounded_up_and_what_is_there_down() -> None:
    assert requested({"cpu": "0.0001", "memory": "0.5"}) == {"cpu": 1, "memory": 1}
    assert available({"cpu": "0.0001", "memory": "1.9"}) == {"cpu": 0, "memory": 1}


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="'4 GB' is not a quantity"):
        parse_quantity("4 GB", "memory", up=True)


def test_an_amount_that_no_node_can_have_fits_nowhere_and_harms_nobody() -> None:
    assert requested({"memory": "100Ei"}) == {"memory": 2**63 - 1}


@given(st.integers(0, 10**12), st.sampled_from(["n", "u", "m", "", "k", "Ki", "Mi"]))
def test_rounding_is_within_one(number: int, suffix: str) -> None:
    factors = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": 1, "k": 1000}
    exact = number * factors.get(suffix, 1024 if suffix == "Ki" else 1024**2)
    up, down = (parse_quantity(f"{number}{suffix}", "memory", up=each) for each in (True, False))
    assert down <= exact <= up
    assert up - down <= 1


def test_amounts_for_people() -> None:
    assert show_all({"cpu": 1500, "memory": 4 * 2**30, "pods": 1}) == "cpu 1.5, memory 4Gi, pods 1"


# -- requests ----------------------------------------------------------------------------------------------------------


def test_containers_add_up_and_each_pod_is_one() -> None:
    assert requests({"containers": [container("200m"), container("0.3")]}) == {"cpu": 500, "pods": 1}


def test_a_limit_without_a_request_is_the_request() -> None:
    spec = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}}}]}
    assert requests(spec) == {"cpu": 1000, "nvidia.com/gpu": 1, "pods": 1}


def test_init_containers_count_one_at_a_time() -> None:
    spec = {"containers": [container("100m")], "initContainers": [container("1"), container("700m")]}
    assert requests(spec)["cpu"] == 1000


def test_init_containers_that_go_on_count_with_what_comes_after_them() -> None:
    beside = container("200m", restartPolicy="Always")
    spec = {"containers": [container("100m")], "initContainers": [container("1"), beside, container("900m")]}
    assert requests(spec)["cpu"] == 1100
    spec["initContainers"] = [container("1"), beside]
    assert requests(spec)["cpu"] == 1000
    spec["initContainers"] = [beside]
    assert requests(spec)["cpu"] == 300


def test_overhead_and_requests_of_the_whole_pod() -> None:
    spec = {"containers": [container("100m")], "overhead": {"cpu": "50m", "memory": "10Mi"}}
    assert requests(spec) == {"cpu": 150, "memory": 10 * 2**20, "pods": 1}
    assert requests({**spec, "resources": {"requests": {"cpu": "1"}}})["cpu"] == 1050


# -- where -------------------------------------------------------------------------------------------------------------


def affinity(**kinds: Any) -> SchedulingGroup:
    return decode({"containers": [container("1")], "affinity": kinds}).shape


def anti(**term: Any) -> dict[str, Any]:
    default = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{**default, **term}]}}


def test_node_affinity() -> None:
    expressions = [
        {"key": "zone", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "cores", "operator": "Gt", "values": ["8"]},
    ]
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": ["n7"]}]
    terms = [{"matchExpressions": expressions, "matchFields": fields}, {"matchExpressions": []}]
    found = affinity(nodeAffinity={"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}})
    good = {"zone": "b", "cores": "16"}
    assert kept_away(found, good, (), "n1") == ""
    for labels, name in [
        ({"zone": "c", "cores": "16"}, "n1"),
        ({**good, "old": ""}, "n1"),
        ({**good, "cores": "8"}, "n1"),
        ({**good, "cores": "many"}, "n1"),
        (good, "n7"),
        ({}, "n1"),
    ]:
        assert "required node affinity" in kept_away(found, labels, (), name)


def test_what_is_only_preferred_is_left_out() -> None:
    assert affinity(nodeAffinity={"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}) == affinity()


def test_anti_affinity_by_hostname() -> None:
    assert affinity(**anti()).anti_affinity == ((("app", "a"), ("metadata.namespace", "ns")),)
    selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]}
    assert affinity(**anti(labelSelector=selector)).anti_affinity == affinity(**anti()).anti_affinity
    assert affinity(**anti(labelSelector=None)).anti_affinity == ()


@pytest.mark.parametrize(
    "term",
    [
        {"topologyKey": "topology.kubernetes.io/zone"},
        {"namespaces": ["other"]},
        {"namespaceSelector": {}},
        {"labelSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
    ],
)
def test_other_anti_affinity_is_recognised(term: dict[str, Any]) -> None:
    found = affinity(**anti(**term))
    assert found.anti_affinity == ()
    assert "podAntiAffinity" in found.unsupported[0]


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule", "topologyKey": "z"}]}, "topologySpread"),
        ({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}, "podAffinity"),
        ({"resourceClaims": [{"name": "gpu"}]}, "resourceClaims"),
        ({"containers": [container("1", ports=[{"hostPort": 80}])]}, "hostPort"),
    ],
)
def test_what_is_not_simulated_is_named(part: dict[str, Any], word: str) -> None:
    assert word in decode({"containers": [container("1")], **part}).shape.unsupported[0]


def test_soft_topology_spread_is_no_bar() -> None:
    spread = [{"whenUnsatisfiable": "ScheduleAnyway", "topologyKey": "zone"}]
    assert decode({"containers": [], "topologySpreadConstraints": spread}).shape.unsupported == ()


@pytest.mark.parametrize(
    ("toleration", "taint", "fits"),
    [
        (Toleration("gpu", "Equal", "yes", "NoSchedule"), Taint("gpu", "yes"), True),
        (Toleration("gpu", "Equal", "no", "NoSchedule"), Taint("gpu", "yes"), False),
        (Toleration("gpu", "Equal", "yes", "NoExecute"), Taint("gpu", "yes"), False),
        (Toleration("gpu", "Equal", "yes"), Taint("gpu", "yes", "NoExecute"), True),
        (Toleration("gpu", "Exists"), Taint("gpu", "yes"), True),
        (Toleration("other", "Exists"), Taint("gpu", "yes"), False),
        (Toleration("", "Exists"), Taint("gpu", "yes"), True),
        (Toleration("other", "Exists"), Taint("gpu", "yes", "PreferNoSchedule"), True),
    ],
)
def test_taints_and_tolerations(toleration: Toleration, taint: Taint, fits: bool) -> None:
    assert (untolerated(SchedulingGroup((), tolerations=(toleration,)), (taint,)) is None) == fits


def test_tolerations_that_every_pod_has_make_no_other_shape() -> None:
    every = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
    assert decode({"containers": [], "tolerations": every}).shape is decode({"containers": []}).shape


def test_how_many_fit() -> None:
    asked = (("cpu", 300), ("memory", 100), ("pods", 1))
    assert count_fit({"cpu": 1000, "memory": 1000, "pods": 110}, asked) == 3
    assert count_fit({"cpu": 1000, "memory": 1000, "pods": 2}, asked) == 2
    assert count_fit({"cpu": 1000, "memory": -50, "pods": 2}, asked) == 0
    assert count_fit({"cpu": 1000, "memory": 1000}, asked) == 0


def test_equal_shapes_are_one_object() -> None:
    spec = {"containers": [container("1")], "nodeSelector": {"a": "b"}}
    assert decode(spec).shape is decode(spec, {"name": "other"}).shape


def test_node_names_compare_with_fields() -> None:
    wanted = SchedulingGroup((), terms=((Requirement("metadata.name", "In", ("n1",)),),))
    assert kept_away(wanted, {}, (), "n1") == ""
    assert kept_away(wanted, {}, (), "n2")


# -- Pods --------------------------------------------------------------------------------------------------------------

UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


def waiting(spec: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **status: Any) -> str:
    shown = {"phase": "Pending", "conditions": [UNSCHEDULABLE], **status}
    return decode({"containers": [], **(spec or {})}, metadata, shown).waiting


def test_what_the_scheduler_finds_no_node_for_waits() -> None:
    assert waiting() == "due"
    assert waiting(conditions=[]) == "new"


@pytest.mark.parametrize(
    "status",
    [
        {"nominatedNodeName": "n1"},
        {"phase": "Failed"},
        {"conditions": [{**UNSCHEDULABLE, "reason": "SchedulingGated"}]},
        {"conditions": [{**UNSCHEDULABLE, "message": "pod has unbound immediate PersistentVolumeClaims"}]},
        {"conditions": [{**UNSCHEDULABLE, "message": 'persistentvolumeclaim "data" not found'}]},
    ],
)
def test_what_waits_for_something_else_does_not(status: dict[str, Any]) -> None:
    assert waiting(**status) == ""


def test_neither_do_bound_ending_gated_or_daemon_pods() -> None:
    assert waiting({"nodeName": "n1"}) == ""
    assert waiting({"schedulingGates": [{"name": "quota"}]}, conditions=[]) == ""
    assert waiting(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}) == ""
    assert waiting(metadata=owned("DaemonSet")) == ""


def owned(kind: str, **annotations: str) -> dict[str, Any]:
    names = {"evict": "cluster-autoscaler.kubernetes.io/safe-to-evict", "disturb": "karpenter.sh/do-not-disrupt"}
    return {
        "ownerReferences": [{"kind": kind, "name": "o", "controller": True}] if kind else [],
        "annotations": {names.get(key, key): value for key, value in annotations.items()},
    }


@pytest.mark.parametrize(
    ("metadata", "volumes", "role"),
    [
        (owned("Job"), [], "job"),
        (owned("Job", evict="true"), [], "job"),
        (owned("DaemonSet"), [], "daemon"),
        (owned("", **{"kubernetes.io/config.mirror": "x"}), [], "daemon"),
        (owned("ReplicaSet"), [], "evictable"),
        (owned("StatefulSet"), [{"persistentVolumeClaim": {"claimName": "data"}}], "evictable"),
        (owned("ReplicaSet"), [{"emptyDir": {}}], "non_evictable"),
        (owned("ReplicaSet", evict="true"), [{"emptyDir": {}}], "evictable"),
        (owned("ReplicaSet", evict="false"), [], "non_evictable"),
        (owned("ReplicaSet", disturb="true"), [], "non_evictable"),
        (owned("Workflow"), [], "non_evictable"),
        (owned(""), [], "non_evictable"),
        (owned("", evict="true"), [], "evictable"),
    ],
)
def test_what_a_pod_means_for_its_node(metadata: dict[str, Any], volumes: list[Any], role: str) -> None:
    assert decode({"containers": [], "volumes": volumes}, metadata).role == role
