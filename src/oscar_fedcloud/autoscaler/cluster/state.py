# SPDX-License-Identifier: Apache-2.0
"""The observed state of the cluster, updated object by object. No I/O."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from oscar_fedcloud.autoscaler.cluster.nodes import NodeState
from oscar_fedcloud.autoscaler.cluster.objects import DaemonSet, Job, Metadata, Node
from oscar_fedcloud.autoscaler.cluster.pending_pods import PendingJobs, PendingPods
from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.cluster.scheduling_groups import daemon_shape
from oscar_fedcloud.autoscaler.model import ClusterSnapshot, MachineView, NodeView, PoolHealth, SchedulingGroup

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class State:
    """The observed state of the cluster. ``changed`` is set by changes that call for a decision."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.changed = asyncio.Event()
        self.nodes: dict[str, NodeState] = {}
        self.waiting = PendingPods()
        self.jobs = PendingJobs()
        self._job_keys: set[str] = set()
        self._pods: dict[str, Pod] = {}
        self._daemons: dict[str, SchedulingGroup] = {}
        self._anti_affinity: Counter[SchedulingGroup] = Counter()  # shapes with anti-affinity -> number of Pods
        self._keys: frozenset[str] = frozenset()  # keys of the labels that anti-affinity matches

    # -- updates -----------------------------------------------------------------------------------------------------

    def node(self, change: ChangeType, node: Node) -> None:
        """Apply a change of a node."""
        name = node.metadata.name
        state = self.nodes.setdefault(name, NodeState())
        if change != "DELETED":
            if state.set_node(node, self.clock()):
                self.changed.set()
            return
        state.view = state.idle_since = None
        state.invalidate()
        if not state.pods:
            del self.nodes[name]
        self.changed.set()

    def pod(self, change: ChangeType, pod: Pod) -> None:
        """Apply a change of a Pod."""
        before = self._pods.pop(pod.key, None)
        gone = change == "DELETED" or pod.ended
        if before is None and pod.job and not gone:  # the end of a Pod may be reported after its Job was deleted
            self.jobs.has_pod(pod.job, pod.key)
        if before and before.node and (gone or before.node != pod.node):
            self._leave(before)
        self._track_anti_affinity(before, None if gone else pod)
        if gone or not pod.waiting:
            self.waiting.remove(pod.key)
        elif self.waiting.put(pod, self._keys):
            self.changed.set()
        if not gone:
            self._pods[pod.key] = pod
            if pod.node:
                self.nodes.setdefault(pod.node, NodeState()).put(pod, self.clock())

    def _leave(self, pod: Pod) -> None:
        state = self.nodes[pod.node]
        state.remove(pod.key, self.clock())
        if state.view is None and not state.pods:
            del self.nodes[pod.node]

    def _track_anti_affinity(self, before: Pod | None, after: Pod | None) -> None:
        """Track the label keys that anti-affinity matches. When they change, all cached views are discarded."""
        for pod, change in ((before, -1), (after, 1)):
            if pod and pod.shape.anti_affinity:
                self._anti_affinity[pod.shape] += change
        if not (before and before.shape.anti_affinity) and not (after and after.shape.anti_affinity):
            return
        used = [shape for shape, count in self._anti_affinity.items() if count > 0]
        keys = frozenset(key for shape in used for labels in shape.anti_affinity for key, _ in labels)
        if keys != self._keys:
            self._keys = keys
            self.waiting.regroup(keys)
            for state in self.nodes.values():
                state.invalidate()

    def job(self, change: ChangeType, job: Job) -> None:
        """Apply a change of a Job."""
        key = job.metadata.key
        if change == "DELETED":
            self._job_keys.discard(key)
            self.jobs.remove(key)
        else:
            self.jobs.put(job, key not in self._job_keys, self.clock())
            self._job_keys.add(key)

    def daemon_set(self, change: ChangeType, daemon_set: DaemonSet) -> None:
        """Apply a change of a DaemonSet."""
        key = daemon_set.metadata.key
        if change == "DELETED":
            self._daemons.pop(key, None)
        else:
            self._daemons[key] = daemon_shape(daemon_set.spec.template.spec, daemon_set.metadata.namespace)

    def keep_only(self, kind: str, keys: set[str]) -> None:
        """Remove all objects that are not in a new list: they were deleted meanwhile."""
        known = {"pods": self._pods, "jobs": self._job_keys, "daemonsets": self._daemons, "nodes": self.nodes}[kind]
        for key in [key for key in known if key not in keys]:
            self._forget(kind, key)
        self.changed.set()

    def _forget(self, kind: str, key: str) -> None:
        namespace, _, name = key.rpartition("/")
        if kind == "pods":
            self.pod("DELETED", self._pods[key])
        elif kind == "jobs":
            self._job_keys.discard(key)
            self.jobs.remove(key)
        elif kind == "daemonsets":
            del self._daemons[key]
        else:
            self.node("DELETED", Node(Metadata(name=name, namespace=namespace)))

    # -- views -------------------------------------------------------------------------------------------------------

    def views(self) -> dict[str, NodeView]:
        """Return all existing nodes by name."""
        return {name: view for name, state in self.nodes.items() if (view := state.current_view(self._keys))}

    def find_node(self, name: str) -> NodeView | None:
        """Return a node, or None if it does not exist."""
        state = self.nodes.get(name)
        return state.current_view(self._keys) if state else None

    def snapshot(
        self,
        now: float,
        *,
        machines: Mapping[str, MachineView],
        health: Mapping[str, PoolHealth],
        clouds_away: frozenset[str] = frozenset(),
        trustworthy: bool = True,
    ) -> ClusterSnapshot:
        """Return the input of a decision."""
        return ClusterSnapshot(
            now=now,
            demand=(*self.waiting.demand(), *self.jobs.demand(now)),
            nodes=self.views(),
            machines=machines,
            health=health,
            daemons=tuple(shape for _, shape in sorted(self._daemons.items())),
            trustworthy=trustworthy,
            clouds_away=clouds_away,
        )

    def find_pod(self, key: str) -> Pod | None:
        """Return a Pod by ``namespace/name``, or None if there is none or it has ended."""
        return self._pods.get(key)

    def usage(self) -> dict[str, dict[str, int]]:
        """Return the millicores requested by node and service ("": Pods of no service), without DaemonSets."""
        return {name: state.usage() for name, state in self.nodes.items()}
