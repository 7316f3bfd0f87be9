# SPDX-License-Identifier: Apache-2.0
"""Pods as the autoscaler keeps them: reduced to a few fields, because there may be tens of thousands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from oscar_fedcloud.autoscaler.cluster.objects import Condition, Metadata, Owner, PodSpec, PodStatus
from oscar_fedcloud.autoscaler.cluster.scheduling_groups import shape_of
from oscar_fedcloud.autoscaler.model import NAMESPACE, SchedulingGroup
from oscar_fedcloud.autoscaler.planning.fits import LabelSet

SERVICE_LABEL = "oscar.fedcloud.eu/service"

# daemon: runs on every node. job: runs to its end and is never evicted. The others may be evicted or not.
Role = Literal["daemon", "job", "non_evictable", "evictable"]
# due: the scheduler found no node. new: the scheduler has not judged it yet.
Waiting = Literal["", "due", "new"]

_SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_DISTURB = "karpenter.sh/do-not-disrupt"
_MIRROR = "kubernetes.io/config.mirror"
_REPLICATED = frozenset({"ReplicaSet", "ReplicationController", "StatefulSet"})
_UNIQUE = frozenset(  # labels with a value of their own for each Pod; nothing selects by them
    {
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
        "controller-uid",
        "job-name",
        "oscar.fedcloud.eu/event",
        "statefulset.kubernetes.io/pod-name",
    }
)
_VOLUME_TROUBLES = ("unbound immediate PersistentVolumeClaims", "persistentvolumeclaim ")
_label_sets: dict[LabelSet, LabelSet] = {}
_NO_METADATA, _NO_SPEC, _NO_STATUS = Metadata(), PodSpec(), PodStatus()


class Pod(msgspec.Struct, gc=False):
    """A Pod. Decoding reduces the first group of fields, its JSON, to the second group."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    key: str = ""  # ``namespace/name``
    uid: str = ""
    job: str = ""  # key of the Job that owns it
    node: str = ""
    shape: SchedulingGroup = SchedulingGroup(())  # without labels
    labels: LabelSet = ()  # labels that several Pods may share, and NAMESPACE
    role: Role = "non_evictable"
    waiting: Waiting = ""
    why: str = ""  # the scheduler's message about why it is pending
    since: float = 0.0  # since when it is pending (s)
    ended: bool = False

    def __post_init__(self) -> None:
        metadata, spec, status = self.metadata, self.spec, self.status
        self.key, self.uid, self.node = metadata.key, metadata.uid, spec.node_name
        self.shape = shape_of(spec, metadata.namespace)
        self.labels = _shared_labels(metadata)
        controller = next((owner for owner in metadata.owner_references or () if owner.controller), Owner())
        self.role = role_of(metadata, spec, controller.kind)
        self.job = f"{metadata.namespace}/{controller.name}" if self.role == "job" else ""
        self.ended = status.phase in ("Succeeded", "Failed")
        self._judge(metadata, spec, status)
        self.metadata, self.spec, self.status = _NO_METADATA, _NO_SPEC, _NO_STATUS

    def _judge(self, metadata: Metadata, spec: PodSpec, status: PodStatus) -> None:
        """Set whether and since when the Pod waits for a node."""
        bound = spec.node_name or status.nominated_node_name
        if bound or self.ended or metadata.deletion_timestamp or spec.scheduling_gates or self.role == "daemon":
            return
        scheduled = next((each for each in status.conditions or () if each.type == "PodScheduled"), None)
        if scheduled is None:
            self.waiting, self.since = "new", metadata.created
        elif scheduled.status == "False" and scheduled.reason == "Unschedulable":
            self.why = scheduled.message
            self.waiting = "" if _waits_for_volume(scheduled) else "due"
            self.since = scheduled.last_transition_time.timestamp() if scheduled.last_transition_time else 0.0

    @property
    def service(self) -> str:
        """Return the service whose Job owns the Pod, or ""."""
        return next((value for key, value in self.labels if key == SERVICE_LABEL), "")


def _waits_for_volume(scheduled: Condition) -> bool:
    return any(words in scheduled.message for words in _VOLUME_TROUBLES)


def role_of(metadata: Metadata, spec: PodSpec, controller: str) -> Role:
    """Return the Pod's role in the removal of its node. controller: kind of its owner, or ""."""
    annotations = metadata.annotations or {}
    if controller in ("DaemonSet", "Node") or _MIRROR in annotations:
        return "daemon"
    if controller == "Job":
        return "job"
    if not safe(annotations):
        return "non_evictable"
    if annotations.get(_SAFE) == "true":
        return "evictable"
    local = any(volume.empty_dir or volume.host_path for volume in spec.volumes or ())
    return "non_evictable" if local or controller not in _REPLICATED else "evictable"


def safe(annotations: Mapping[str, str]) -> bool:
    """Return whether no annotation forbids evicting the Pod."""
    return annotations.get(_SAFE) != "false" and annotations.get(_DISTURB) != "true"


def _shared_labels(metadata: Metadata) -> LabelSet:
    labels = {key: value for key, value in (metadata.labels or {}).items() if key not in _UNIQUE}
    made = tuple(sorted({**labels, NAMESPACE: metadata.namespace}.items()))
    return _label_sets.setdefault(made, made)
