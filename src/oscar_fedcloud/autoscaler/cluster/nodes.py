# SPDX-License-Identifier: Apache-2.0
"""A node with its Pods, updated Pod by Pod. Its view for decisions is rebuilt only after changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace

from oscar_fedcloud.autoscaler.cluster.objects import Condition, Node
from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.cluster.scheduling_groups import intern
from oscar_fedcloud.autoscaler.model import NAMESPACE, NodeView, SchedulingGroup, Taint
from oscar_fedcloud.autoscaler.names import POOL_LABEL
from oscar_fedcloud.autoscaler.planning.fits import LabelSet
from oscar_fedcloud.autoscaler.quantities import add, offered

_PROTECTED = {"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true", "karpenter.sh/do-not-disrupt": "true"}
_CONDITION_TAINTS = frozenset(f"node.kubernetes.io/{key}" for key in ("not-ready", "unreachable", "unschedulable"))


@dataclass(slots=True)
class NodeState:
    """A node and its Pods. The Pods may be seen before the node."""

    view: NodeView | None = None  # from the node's object; ``current_view`` adds free amounts and Pods
    allocatable: dict[str, int] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    requested: dict[str, int] = field(default_factory=dict)  # by its Pods
    roles: Counter[str] = field(default_factory=Counter)  # how many Pods have each role
    idle_since: float | None = None
    cached_view: NodeView | None = None  # the last view; None if it is outdated
    cached_usage: dict[str, int] | None = None  # the same for ``usage``

    def set_node(self, node: Node, now: float) -> bool:
        """Update the node's object. Returns whether it changed where Pods may go."""
        before, self.view = self.view, view_of(node)
        self.allocatable = offered(node.status.allocatable or {})
        self._changed(now)
        return before is None or (before.ready, before.schedulable) != (self.view.ready, self.view.schedulable)

    def put(self, pod: Pod, now: float) -> None:
        """Add or update a Pod."""
        before = self.pods.get(pod.key)
        self.pods[pod.key] = pod
        if before is None or (before.shape, before.role, before.labels) != (pod.shape, pod.role, pod.labels):
            if before is not None:
                self._count(before, -1)
            self._count(pod, 1)
            self._changed(now)

    def remove(self, key: str, now: float) -> None:
        """Remove a Pod."""
        pod = self.pods.pop(key, None)
        if pod is not None:
            self._count(pod, -1)
            self._changed(now)

    def _count(self, pod: Pod, times: int) -> None:
        add(self.requested, pod.shape.requests, times)
        self.roles[pod.role] += times

    def _changed(self, now: float) -> None:
        self.invalidate()
        if self.roles["job"] or self.roles["non_evictable"]:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now

    def invalidate(self) -> None:
        """Discard the cached views."""
        self.cached_view = self.cached_usage = None

    def current_view(self, keys: Set[str]) -> NodeView | None:
        """Return the view of the node, or None if it does not exist. keys: label keys that anti-affinity matches."""
        if self.view is None:
            return None
        if self.cached_view is None:
            self.cached_view = self._make(self.view, keys)
        return self.cached_view

    def usage(self) -> dict[str, int]:
        """Return the millicores requested by service, "" for Pods of no service. Pods of DaemonSets are not counted."""
        if self.cached_usage is None:
            found: Counter[str] = Counter()
            for pod in self.pods.values():
                if pod.role != "daemon":
                    found[pod.service] += dict(pod.shape.requests).get("cpu", 0)
            self.cached_usage = dict(found)
        return self.cached_usage

    def _make(self, view: NodeView, keys: Set[str]) -> NodeView:
        made = replace(
            view,
            free={name: value - self.requested.get(name, 0) for name, value in self.allocatable.items()},
            jobs=self.roles["job"],
            non_evictable=self.roles["non_evictable"],
            idle_since=self.idle_since,
        )
        if not keys and not self.roles["evictable"]:
            return made
        pods = self.pods.values()
        return replace(
            made,
            evictable=tuple(
                with_labels(pod, keys) for key, pod in sorted(self.pods.items()) if pod.role == "evictable"
            ),
            anti_affinity_on_node=tuple(sorted({each for pod in pods for each in pod.shape.anti_affinity})),
            pod_labels=tuple(sorted({found for pod in pods if (found := looked_at(pod.labels, keys))})),
        )


def looked_at(labels: LabelSet, keys: Set[str]) -> LabelSet:
    """Return the labels that some Pod's anti-affinity matches, and the namespace, or () if there is none."""
    return tuple(pair for pair in labels if pair[0] in keys or pair[0] == NAMESPACE) if keys else ()


def with_labels(pod: Pod, keys: Set[str]) -> SchedulingGroup:
    """Return the Pod's shape with its labels."""
    labels = looked_at(pod.labels, keys)
    return intern(replace(pod.shape, labels=labels)) if labels else pod.shape


def view_of(node: Node) -> NodeView:
    """Return the view of a node's object."""
    metadata, annotations = node.metadata, node.metadata.annotations or {}
    labels = metadata.labels or {}
    forbidding = [key for key, value in _PROTECTED.items() if annotations.get(key) == value]
    taints = (each for each in node.spec.taints or () if each.key not in _CONDITION_TAINTS)
    return NodeView(
        name=metadata.name,
        pool=labels.get(POOL_LABEL, ""),
        ready=_is_ready(node.status.conditions or ()),
        schedulable=not node.spec.unschedulable,
        labels=labels,
        taints=tuple(Taint(each.key, each.value, each.effect) for each in taints),
        free={},
        provider_id=node.spec.provider_id,
        created=metadata.created,
        protected=f"annotation {forbidding[0]} is set" if forbidding else "",
    )


def _is_ready(conditions: Iterable[Condition]) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in conditions)
