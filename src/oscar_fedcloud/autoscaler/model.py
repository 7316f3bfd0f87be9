# SPDX-License-Identifier: Apache-2.0
"""Data model of the autoscaler: scheduling groups, nodes, pools, machines and decisions. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Resource name -> amount: "cpu" in millicores, memory and storage in bytes, "pods" and extended resources as counts.
# Requests are rounded up and capacity is rounded down, as the Kubernetes scheduler does.
Resources = Mapping[str, int]

NAMESPACE = "metadata.namespace"  # pseudo-label of Pods: anti-affinity only considers Pods of the same namespace
NODE_NAME = "metadata.name"  # key of a Requirement on the node's name


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Toleration:
    """A toleration of a Pod. An empty key with Exists tolerates all taints; an empty effect matches all effects."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Requirement:
    """An expression over the labels of a node, or over its name if the key is ``metadata.name``."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulingGroup:
    """Everything that decides where a Pod fits. Pods of one group are packed together.

    In ``labels`` and in ``anti_affinity`` the namespace is a label with the key NAMESPACE.
    """

    requests: tuple[tuple[str, int], ...]
    node_selector: tuple[tuple[str, str], ...] = ()
    # required node affinity: any term must hold, with all its requirements; empty means no affinity
    terms: tuple[tuple[Requirement, ...], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  # set only if the anti-affinity of some Pod matches them
    # label sets that no other Pod on the same node may carry (anti-affinity by hostname)
    anti_affinity: tuple[tuple[tuple[str, str], ...], ...] = ()
    # features that are not simulated, as the Pod's specification names them; such a Pod triggers no machine
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """Pods of one group that are pending, or that the invoker would create if there were room (its backlog)."""

    shape: SchedulingGroup
    count: int
    pods: tuple[str, ...] = ()  # ``namespace/name``, sorted; empty for the backlog
    service: str = ""  # the service of the backlog
    triggers: bool = True  # False until the scheduler has judged the Pods: they keep nodes but request none


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node that exists in Kubernetes.

    Pods of DaemonSets and mirror Pods count in none of ``jobs``, ``non_evictable`` and ``evictable``.
    """

    name: str
    pool: str  # empty if the node is not managed by the autoscaler
    ready: bool
    schedulable: bool
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    free: Resources  # allocatable minus the requests of all Pods bound to the node
    provider_id: str = ""
    created: float = 0.0
    jobs: int = 0  # Pods of Jobs that have not ended
    non_evictable: int = 0  # other Pods that must not be evicted
    evictable: tuple[SchedulingGroup, ...] = ()  # Pods that may be evicted if there is room for them elsewhere
    protected: str = ""  # why the node must stay; empty if it need not
    anti_affinity_on_node: tuple[tuple[tuple[str, str], ...], ...] = ()  # anti-affinity label sets of its Pods
    pod_labels: tuple[tuple[tuple[str, str], ...], ...] = ()  # labels of its Pods that some anti-affinity matches
    idle_since: float | None = None  # since when there are neither Jobs nor non-evictable Pods; None if there are any


@dataclass(frozen=True, slots=True)
class Pool:
    """Machines of one kind. Times are in seconds."""

    name: str
    cloud: str
    template: Mapping[str, Any]
    capacity: Resources  # allocatable of one node, as the kubelet reports it (not the flavour)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    min: int = 0
    max: int = 10
    priority: int = 0  # pools with a higher priority are used first
    price: float = 0.0  # of one node per hour, in any currency
    watts: float = 0.0  # of one node
    spares: int = 0  # idle nodes that are kept ready
    # (cron, minimum): from each time that the five-field expression names, in ``timezone``, this minimum replaces
    # ``min`` until the next time that any of them names
    minimums: tuple[tuple[str, int], ...] = ()
    timezone: str = "UTC"
    idle: float = 300.0
    startup_timeout: float = 900.0
    stop_instead: bool = False


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """Limits of the whole cluster, counting managed nodes only. None means unlimited."""

    nodes: int | None = None
    cpu: int | None = None  # millicores
    memory: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings that apply to all pools."""

    limits: SiteLimits = field(default_factory=SiteLimits)
    cordon_pause: float = 5.0  # seconds between cordon and removal
    unready_share: float = 0.45  # of the nodes that should be ready; if more are not, nothing is removed


MachinePhase = Literal["asked", "starting", "joined", "draining", "removing", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine that the autoscaler requested, as its OscarMachine object and its cloud describe it.

    Phases:
        asked: recorded; the cloud was not called yet, or its answer is unknown.
        starting: the cloud has the machine; its node has not been Ready yet.
        joined: its node has been Ready.
        draining, removing: the machine is being removed.
    """

    name: str
    pool: str
    phase: MachinePhase
    since: float  # when it entered this phase
    asked: float  # when it was requested
    cloud_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """What keeps a pool from being used."""

    closed_until: float = 0.0  # no launch before this time
    failures: int = 0
    reason: str = ""
    headroom: int | None = None  # machines that the quota allows; None if unknown


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """The input of a decision. It can be written to a file and read again (record, replay, what-if)."""

    now: float
    demand: tuple[Demand, ...]
    nodes: Mapping[str, NodeView]
    machines: Mapping[str, MachineView]
    health: Mapping[str, PoolHealth] = field(default_factory=dict)
    daemons: tuple[SchedulingGroup, ...] = ()  # DaemonSets, whose Pods a new node gets if they fit there
    trustworthy: bool = True  # False while the API server or a watch is interrupted: then nothing is removed
    clouds_away: frozenset[str] = frozenset()  # clouds that do not answer


@dataclass(frozen=True, slots=True)
class Launch:
    """Request ``count`` machines of a pool in one batch."""

    pool: str
    count: int
    reason: str
    pods: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()  # stopped machines among them, which are started again


@dataclass(frozen=True, slots=True)
class Removal:
    """A step in the removal of a machine.

    The steps are to cordon its node, to undo that, to drain and delete it, or to give up a machine that never joined.
    """

    machine: str
    step: Literal["cordon", "uncordon", "remove", "give_up"]
    reason: str
    blames_pool: bool = False  # whether this counts as a failed launch of the machine's pool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Demand that no pool can serve."""

    shape: SchedulingGroup
    count: int
    pods: tuple[str, ...]
    reasons: Mapping[str, str]  # pool -> reason, e.g. {"gpu": "taint gpu=yes is not tolerated"}


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and why nothing more is done."""

    launches: tuple[Launch, ...] = ()
    removals: tuple[Removal, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    removals_blocked_by: str = ""  # why nothing is removed at all; empty if removals are allowed
