# SPDX-License-Identifier: Apache-2.0
"""Derive the shape of a Pod from its specification: everything that decides where it fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, get_args

from oscar_fedcloud.autoscaler.cluster.objects import (
    Affinity,
    Container,
    Expression,
    NodeTerms,
    PodSpec,
    PodTerm,
    Selector,
    TolerationSpec,
)
from oscar_fedcloud.autoscaler.model import NAMESPACE, NODE_NAME, Requirement, SchedulingGroup, Toleration
from oscar_fedcloud.autoscaler.planning.fits import LabelSet
from oscar_fedcloud.autoscaler.quantities import add, requested

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]

_HOSTNAME = "kubernetes.io/hostname"
# Admission makes every Pod tolerate these for a while. Nodes with these taints do not count as ready anyway.
_OUT_OF_ORDER = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})
# Tolerations that the DaemonSet controller adds to its Pods.
_DAEMON_TOLERATIONS = tuple(
    Toleration(f"node.kubernetes.io/{key}", "Exists", effect="NoSchedule")
    for key in ("disk-pressure", "memory-pressure", "pid-pressure", "unschedulable", "network-unavailable")
)
_known: dict[SchedulingGroup, SchedulingGroup] = {}


def shape_of(spec: PodSpec, namespace: str) -> SchedulingGroup:
    """Return the shape of a Pod without its labels. Equal shapes are the same object."""
    affinity = spec.affinity or Affinity()
    anti_affinity, unsupported = _anti_affinity(affinity, namespace)
    unsupported += _unsupported(spec, affinity)
    return intern(
        SchedulingGroup(
            requests=tuple(sorted(requests_of(spec).items())),
            node_selector=tuple(sorted((spec.node_selector or {}).items())),
            terms=tuple(_terms(affinity.node_affinity.required)) if affinity.node_affinity else (),
            tolerations=tolerations_of(spec.tolerations or ()),
            anti_affinity=anti_affinity,
            unsupported=tuple(sorted(set(unsupported))),
        )
    )


def daemon_shape(spec: PodSpec, namespace: str) -> SchedulingGroup:
    """Return the shape of a DaemonSet's Pods."""
    tolerations = (*tolerations_of(spec.tolerations or ()), *_DAEMON_TOLERATIONS)
    made = shape_of(spec, namespace)
    return intern(SchedulingGroup(made.requests, made.node_selector, made.terms, tolerations))


def intern(shape: SchedulingGroup) -> SchedulingGroup:
    """Return the shared object for all equal shapes, so that tens of thousands of Pods share a few objects."""
    return _known.setdefault(shape, shape)


def requests_of(spec: PodSpec) -> dict[str, int]:
    """Return what a Pod requests of a node as the scheduler counts it, and one of ``pods``.

    This is the sum over its containers, or the peak need of an init container if that is larger. Requests of the whole
    Pod replace these. The Pod's overhead is added.
    """
    total = _sum(spec.containers)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.init_containers or ():
        own = _asked(container)
        if container.restart_policy == "Always":
            add(sidecars, own.items())
            add(total, own.items())
        for name in {*own, *sidecars}:
            needs = sidecars.get(name, 0) + (0 if container.restart_policy == "Always" else own.get(name, 0))
            peak[name] = max(peak.get(name, 0), needs)
    for name, value in peak.items():
        total[name] = max(total.get(name, 0), value)
    if spec.resources:
        total |= requested(spec.resources.asked())
    add(total, requested(spec.overhead or {}).items())
    return {name: value for name, value in total.items() if value} | {"pods": 1}


def _sum(containers: Iterable[Container]) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in containers:
        add(total, _asked(container).items())
    return total


def _asked(container: Container) -> dict[str, int]:
    return requested(container.resources.asked()) if container.resources else {}


def tolerations_of(specs: Iterable[TolerationSpec]) -> tuple[Toleration, ...]:
    """Return tolerations in a fixed order, without those of nodes that are not ready."""
    kept = {
        (each.key, each.operator or "Equal", each.value, each.effect)
        for each in specs
        if each.key not in _OUT_OF_ORDER or each.effect != "NoExecute"
    }
    return tuple(Toleration(*each) for each in sorted(kept))


def _terms(required: NodeTerms | None) -> Iterator[tuple[Requirement, ...]]:
    for term in required.node_selector_terms if required else ():
        labels = [_requirement(each, each.key) for each in term.match_expressions or ()]
        fields = [_requirement(each, NODE_NAME) for each in term.match_fields or ()]
        yield (*labels, *fields)


def _requirement(expression: Expression, key: str) -> Requirement:
    operator: Operator = next((each for each in get_args(Operator) if each == expression.operator), "In")
    return Requirement(key, operator, tuple(expression.values or ()))


def _anti_affinity(affinity: Affinity, namespace: str) -> tuple[tuple[LabelSet, ...], list[str]]:
    """Return the label sets of Pods that must not share the node, and the unsupported parts of the anti-affinity."""
    sets, unsupported = [], []
    for term in (affinity.pod_anti_affinity.required if affinity.pod_anti_affinity else None) or ():
        if term.label_selector is None:
            continue  # it matches no Pod
        labels = _label_set(term, term.label_selector)
        if labels is None:
            unsupported.append(f"podAntiAffinity over {term.topology_key}, or with such a selector")
        else:
            sets.append(tuple(sorted({**labels, NAMESPACE: namespace}.items())))
    return tuple(sorted(set(sets))), unsupported


def _label_set(term: PodTerm, selector: Selector) -> Mapping[str, str] | None:
    """Return the labels that a term matches on Pods of the same node and namespace, or None for any other term."""
    further = term.namespaces or term.namespace_selector or term.match_label_keys or term.mismatch_label_keys
    if term.topology_key != _HOSTNAME or further:
        return None
    labels = dict(selector.match_labels or {})
    for each in selector.match_expressions or ():
        if each.operator != "In" or len(each.values or ()) != 1:
            return None
        labels[each.key] = (each.values or [""])[0]
    return labels


def _unsupported(spec: PodSpec, affinity: Affinity) -> list[str]:
    """Return the features that the scheduler honours but that are not simulated here."""
    found = []
    if affinity.pod_affinity and affinity.pod_affinity.required:
        found.append("required podAffinity")
    for spread in spec.topology_spread_constraints or ():
        if spread.when_unsatisfiable != "ScheduleAnyway":
            found.append(f"topologySpreadConstraints over {spread.topology_key} with DoNotSchedule")
    if spec.resource_claims:
        found.append("resourceClaims")
    if any(port.host_port for container in spec.containers for port in container.ports or ()):
        found.append("hostPort")
    return found
