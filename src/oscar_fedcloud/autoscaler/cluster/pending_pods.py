# SPDX-License-Identifier: Apache-2.0
"""Pending Pods and Jobs by shape, and the Jobs that the invoker would start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set

from oscar_fedcloud.autoscaler.cluster.backlog import InvokerBacklogRow
from oscar_fedcloud.autoscaler.cluster.nodes import with_labels
from oscar_fedcloud.autoscaler.cluster.objects import Job
from oscar_fedcloud.autoscaler.cluster.pods import SERVICE_LABEL, Pod
from oscar_fedcloud.autoscaler.cluster.scheduling_groups import shape_of
from oscar_fedcloud.autoscaler.model import Demand, SchedulingGroup

_YOUNG = 60.0  # s during which a Job without Pods counts; later, something else prevents its Pods
_OVERLAP = 0.5  # s before a backlog request during which the invoker may not yet know of a new Job

Group = tuple[SchedulingGroup, bool]  # shape of pending Pods, and whether they trigger new nodes


class PendingPods:
    """Pods without a node, grouped by shape. Unchanged groups are not sorted again."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self._groups: dict[Group, dict[str, None]] = {}
        self._made: dict[Group, Demand] = {}
        self._group_of: dict[str, Group] = {}

    def put(self, pod: Pod, keys: Set[str]) -> bool:
        """Add or update a pending Pod. Returns whether it now triggers new nodes and did not before."""
        group = (with_labels(pod, keys), pod.waiting == "due")
        before = self._group_of.get(pod.key)
        self.pods[pod.key] = pod
        if group == before:
            return False
        self.remove(pod.key)
        self.pods[pod.key] = pod
        self._group_of[pod.key] = group
        self._groups.setdefault(group, {})[pod.key] = None
        self._made.pop(group, None)
        return group[1]

    def remove(self, key: str) -> None:
        """Remove a Pod that is no longer pending."""
        self.pods.pop(key, None)
        group = self._group_of.pop(key, None)
        if group is not None:
            self._made.pop(group, None)
            del self._groups[group][key]
            if not self._groups[group]:
                del self._groups[group]

    def regroup(self, keys: Set[str]) -> None:
        """Group all Pods again, because other label keys matter now."""
        pods = list(self.pods.values())
        for pod in pods:
            self.remove(pod.key)
            self.put(pod, keys)

    def demand(self) -> Iterator[Demand]:
        """Yield the pending Pods by shape."""
        for group, members in self._groups.items():
            if group not in self._made:
                shape, triggers = group
                self._made[group] = Demand(shape, len(members), tuple(sorted(members)), triggers=triggers)
            yield self._made[group]


class PendingJobs:
    """Pods that young Jobs still lack, and the invoker's backlog without what has become a Job since."""

    def __init__(self) -> None:
        self._jobs: dict[str, tuple[SchedulingGroup, int, float]] = {}
        self._seen: dict[str, set[str]] = {}  # Job -> its Pods so far
        self._backlog: Sequence[InvokerBacklogRow] = ()
        self._made: list[
            tuple[float, str]
        ] = []  # Jobs that the current backlog may still count: (when they appeared, service)
        self._asked = 0.0  # when the backlog was requested; 0.0 means never

    def put(self, job: Job, is_new: bool, now: float) -> None:
        """Add or update a Job."""
        service = (job.metadata.labels or {}).get(SERVICE_LABEL)
        if is_new and service and self._asked:
            self._made.append((now, service))
        status, spec = job.status, job.spec
        ended = any(each.status == "True" and each.type in ("Complete", "Failed") for each in status.conditions or ())
        count = min(spec.parallelism, spec.completions or spec.parallelism)
        if spec.suspend or ended or status.succeeded or status.failed or status.active >= count:
            self._jobs.pop(job.metadata.key, None)
        else:
            shape = shape_of(spec.template.spec, job.metadata.namespace)
            self._jobs[job.metadata.key] = (shape, count, job.metadata.created)

    def has_pod(self, key: str, pod: str) -> None:
        """Record that a Pod of a Job exists and counts by itself. It may be seen before its Job."""
        self._seen.setdefault(key, set()).add(pod)

    def remove(self, key: str) -> None:
        """Remove a Job."""
        self._jobs.pop(key, None)
        self._seen.pop(key, None)

    def ask(self, now: float) -> None:
        """Record that the backlog is about to be requested."""
        self._asked = now

    def answer(self, rows: Sequence[InvokerBacklogRow]) -> bool:
        """Set the backlog. Returns whether it grew."""
        before = sum(demand.count for demand in self._of_backlog())
        self._backlog = rows
        self._made = [each for each in self._made if each[0] > self._asked - _OVERLAP]
        return sum(demand.count for demand in self._of_backlog()) > before

    def demand(self, now: float) -> Iterator[Demand]:
        """Yield the Pods that are expected soon."""
        young: Counter[SchedulingGroup] = Counter()
        for key, (shape, count, created) in self._jobs.items():
            if now - created < _YOUNG:
                young[shape] += max(0, count - len(self._seen.get(key, ())))
        for shape, count in young.items():
            if count:
                yield Demand(shape, count)
        yield from self._of_backlog()

    def _of_backlog(self) -> Iterator[Demand]:
        left = Counter(service for _, service in self._made)
        for row in self._backlog:
            for service, count in row.services.items():
                known = min(count, left[service])
                left[service] -= known
                if count > known:
                    yield Demand(row.shape, count - known, service=service)
