# SPDX-License-Identifier: Apache-2.0
"""Check whether Pods of a shape fit on a node, by the simulated subset of the Kubernetes scheduler's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from oscar_fedcloud.autoscaler.model import NODE_NAME, Requirement, Resources, SchedulingGroup, Taint, Toleration
from oscar_fedcloud.autoscaler.quantities import show

LabelSet = tuple[tuple[str, str], ...]


def count_fit(free: Resources, requests: Iterable[tuple[str, int]]) -> int:
    """Return how many Pods with these requests fit into the free amounts. Every shape requests ``pods`` 1."""
    fewest = -1
    for name, value in requests:
        if value:
            room = free.get(name, 0) // value
            if room <= 0:
                return 0
            if fewest < 0 or room < fewest:
                fewest = room
    return max(0, fewest)


def untolerated(shape: SchedulingGroup, taints: Iterable[Taint]) -> Taint | None:
    """Return the first taint that repels the shape. PreferNoSchedule repels nothing."""
    for taint in taints:
        if taint.effect != "PreferNoSchedule" and not any(_tolerates(each, taint) for each in shape.tolerations):
            return taint
    return None


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.operator == "Equal" and toleration.key == taint.key and toleration.value == taint.value


def unselected(shape: SchedulingGroup, labels: Mapping[str, str], name: str = "") -> str:
    """Return why nodeSelector or node affinity excludes a node with these labels, or "" if it does not."""
    for key, value in shape.node_selector:
        if labels.get(key) != value:
            return f"the node has no label {key}={value}"
    if shape.terms and not any(term and all(_holds(each, labels, name) for each in term) for term in shape.terms):
        return f"required node affinity wants {' or '.join(map(_show_term, shape.terms))}"
    return ""


def _holds(wanted: Requirement, labels: Mapping[str, str], name: str) -> bool:
    value = name if wanted.key == NODE_NAME else labels.get(wanted.key)
    match wanted.operator:
        case "In":
            return value in wanted.values
        case "NotIn":
            return value not in wanted.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return _compares(wanted, value)


def _compares(wanted: Requirement, value: str | None) -> bool:
    try:
        found, bound = int(value or ""), int(wanted.values[0])
    except (ValueError, IndexError):
        return False
    return found > bound if wanted.operator == "Gt" else found < bound


def _show_term(term: tuple[Requirement, ...]) -> str:
    return " and ".join(f"{each.key} {each.operator} {','.join(each.values)}".strip() for each in term)


def kept_away(shape: SchedulingGroup, labels: Mapping[str, str], taints: Iterable[Taint], name: str = "") -> str:
    """Return why the node is excluded whatever its free amounts, or "" if it is not."""
    if reason := unselected(shape, labels, name):
        return reason
    taint = untolerated(shape, taints)
    return "" if taint is None else f"taint {taint.key}={taint.value}:{taint.effect} is not tolerated"


def too_large(shape: SchedulingGroup, free: Resources) -> str:
    """Return which requests exceed the free amounts, e.g. "cpu 4 asked, 1.5 there", or "" if none does."""
    short = [
        f"{show(name, value)} asked, {show(name, max(0, free.get(name, 0))).rpartition(' ')[2]} there"
        for name, value in shape.requests
        if value > free.get(name, 0)
    ]
    return "; ".join(short)


def carries(labels: LabelSet, wanted: LabelSet) -> bool:
    """Return whether the labels include all wanted ones."""
    return all(pair in labels for pair in wanted)


def apart_from_own(shape: SchedulingGroup) -> bool:
    """Return whether two Pods of the shape must not share a node."""
    return any(carries(shape.labels, wanted) for wanted in shape.anti_affinity)


def repelled(shape: SchedulingGroup, pod_labels: Iterable[LabelSet], anti_affinity_on_node: Iterable[LabelSet]) -> bool:
    """Return whether anti-affinity excludes a node with Pods that carry or reject these labels."""
    if shape.anti_affinity and any(carries(labels, wanted) for labels in pod_labels for wanted in shape.anti_affinity):
        return True
    return any(carries(shape.labels, wanted) for wanted in anti_affinity_on_node)
