# SPDX-License-Identifier: Apache-2.0
"""The fields of Kubernetes objects that the autoscaler reads. All others are skipped while decoding."""

from __future__ import annotations

from datetime import datetime

import msgspec

Quantities = dict[str, str | int | float]


class Owner(msgspec.Struct, gc=False):
    """An entry of ownerReferences."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(msgspec.Struct, rename="camel"):
    """Metadata of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: str = ""

    @property
    def key(self) -> str:
        """Return ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def created(self) -> float:
        """Return the creation time in seconds since the epoch; 0.0 if unknown."""
        return self.creation_timestamp.timestamp() if self.creation_timestamp else 0.0


class ResourceNeeds(msgspec.Struct):
    """``resources`` of a container or a Pod."""

    requests: Quantities | None = None
    limits: Quantities | None = None

    def asked(self) -> Quantities:
        """Return the requests. A resource with a limit only requests that limit."""
        return {**(self.limits or {}), **(self.requests or {})}


class Port(msgspec.Struct, rename="camel", gc=False):
    """A port of a container."""

    host_port: int = 0


class Container(msgspec.Struct, rename="camel"):
    """A container. ``restart_policy`` is ``Always`` for a sidecar, an init container that keeps running."""

    resources: ResourceNeeds | None = None
    restart_policy: str = ""
    ports: list[Port] | None = None


class Expression(msgspec.Struct):
    """An expression over labels."""

    key: str
    operator: str
    values: list[str] | None = None


class NodeTerm(msgspec.Struct, rename="camel"):
    """A term of required node affinity."""

    match_expressions: list[Expression] | None = None
    match_fields: list[Expression] | None = None


class NodeTerms(msgspec.Struct, rename="camel"):
    """Required node affinity."""

    node_selector_terms: list[NodeTerm] = []


class NodeAffinity(msgspec.Struct):
    """The part of node affinity that binds the scheduler."""

    required: NodeTerms | None = msgspec.field(name="requiredDuringSchedulingIgnoredDuringExecution", default=None)


class Selector(msgspec.Struct, rename="camel"):
    """A selector of Pods."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[Expression] | None = None


class PodTerm(msgspec.Struct, rename="camel"):
    """A term of affinity between Pods."""

    topology_key: str = ""
    label_selector: Selector | None = None
    namespaces: list[str] | None = None
    namespace_selector: Selector | None = None
    match_label_keys: list[str] | None = None
    mismatch_label_keys: list[str] | None = None


class PodAffinity(msgspec.Struct):
    """The part of affinity between Pods that binds the scheduler."""

    required: list[PodTerm] | None = msgspec.field(name="requiredDuringSchedulingIgnoredDuringExecution", default=None)


class Affinity(msgspec.Struct, rename="camel"):
    """Affinity and anti-affinity of a Pod."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TolerationSpec(msgspec.Struct, gc=False):
    """A toleration."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class Spread(msgspec.Struct, rename="camel", gc=False):
    """A topology spread constraint."""

    when_unsatisfiable: str = ""
    topology_key: str = ""


class Present(msgspec.Struct, gc=False):
    """Something of which only the presence matters."""


class Volume(msgspec.Struct, rename="camel"):
    """A volume, reduced to the types that tie data to the node."""

    empty_dir: Present | None = None
    host_path: Present | None = None


class PodSpec(msgspec.Struct, rename="camel"):
    """The fields that decide where a Pod may go."""

    node_name: str = ""
    containers: list[Container] = []
    init_containers: list[Container] | None = None
    resources: ResourceNeeds | None = None
    overhead: Quantities | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[TolerationSpec] | None = None
    topology_spread_constraints: list[Spread] | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[Present] | None = None
    scheduling_gates: list[Present] | None = None


class Condition(msgspec.Struct, rename="camel"):
    """A condition of an object."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class PodStatus(msgspec.Struct, rename="camel"):
    """The status of a Pod."""

    phase: str = ""
    conditions: list[Condition] | None = None
    nominated_node_name: str = ""


class Template(msgspec.Struct):
    """A Pod template."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class JobSpec(msgspec.Struct):
    """The fields that decide how many Pods a Job wants."""

    template: Template
    parallelism: int = 1
    completions: int | None = None
    suspend: bool = False


class JobStatus(msgspec.Struct):
    """The status of a Job, with counts of its Pods."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0
    conditions: list[Condition] | None = None


class Job(msgspec.Struct):
    """A Job."""

    metadata: Metadata
    spec: JobSpec
    status: JobStatus = msgspec.field(default_factory=JobStatus)


class DaemonSetSpec(msgspec.Struct):
    """The specification of a DaemonSet."""

    template: Template


class DaemonSet(msgspec.Struct):
    """A DaemonSet."""

    metadata: Metadata
    spec: DaemonSetSpec


class TaintSpec(msgspec.Struct, gc=False):
    """A taint of a node."""

    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(msgspec.Struct, rename="camel"):
    """The specification of a node."""

    provider_id: str = msgspec.field(name="providerID", default="")
    unschedulable: bool = False
    taints: list[TaintSpec] | None = None


class NodeStatus(msgspec.Struct):
    """The status of a node."""

    allocatable: Quantities | None = None
    conditions: list[Condition] | None = None


class Node(msgspec.Struct):
    """A node."""

    metadata: Metadata
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)
