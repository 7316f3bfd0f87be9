# SPDX-License-Identifier: Apache-2.0
"""What the autoscaler thinks in: shapes of Pods, nodes, pools, machines, decisions. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# name of a resource -> amount: "cpu" in millicores, memory and storage in bytes, "pods" and extended ones in pieces;
# rounded up for what is asked, down for what is there, as the scheduler of Kubernetes does
Resources = Mapping[str, int]

NAMESPACE = "metadata.namespace"  # stands among labels of Pods, since anti-affinity looks at Pods of its own namespace
NODE_NAME = "metadata.name"  # key of a Requirement on the node's name


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Toleration:
    """A toleration of a Pod; key "" with Exists tolerates all, effect "" all effects."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression over a node's labels (or its name, key ``metadata.name``)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulingGroup:
    """All that decides where a Pod fits; Pods of one shape are packed together.

    terms: required node affinity, any of which must hold, each with all its requirements; () = no wish.
    apart: label sets; on its node no other Pod may carry one of them (anti-affinity by hostname). Both here and in
    ``labels`` the namespace stands as label NAMESPACE. unsupported: features that we do not simulate, in words of the
    Pod's specification; such a Pod triggers nothing.
    """

    requests: tuple[tuple[str, int], ...]
    node_selector: tuple[tuple[str, str], ...] = ()
    terms: tuple[tuple[Requirement, ...], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()  # only when anti-affinity looks at them
    apart: tuple[tuple[tuple[str, str], ...], ...] = ()
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """Pods of one shape that wait, or that would be created if there were room (the invoker's backlog).

    pods: ``namespace/name``, sorted; empty for the backlog, whose ``service`` is named instead. triggers: False while
    the scheduler has not judged them yet: they keep nodes, but ask for none by themselves.
    """

    shape: SchedulingGroup
    count: int
    pods: tuple[str, ...] = ()
    service: str = ""
    triggers: bool = True


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node that exists in Kubernetes. free: allocatable less the requests of all Pods bound to it.

    jobs: Pods of Jobs on it that have not ended. held: other Pods that must not be evicted. movable: Pods that may be,
    if there is room for them elsewhere. Pods of DaemonSets and mirror Pods count in none of these. protected: why the
    node must stay, "" = it need not. idle_since: since when there are neither jobs nor held; None = there are.
    """

    name: str
    pool: str  # "" = not ours
    ready: bool
    schedulable: bool
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    free: Resources
    provider_id: str = ""
    created: float = 0.0
    jobs: int = 0
    held: int = 0
    movable: tuple[SchedulingGroup, ...] = ()
    protected: str = ""
    pinned: tuple[tuple[tuple[str, str], ...], ...] = ()  # anti-affinity label sets of Pods there
    pod_labels: tuple[tuple[tuple[str, str], ...], ...] = ()  # of Pods there, when anti-affinity looks at them
    idle_since: float | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Machines of one kind. Times are seconds.

    capacity: allocatable of one node (what the kubelet reports, not the flavour). priority: higher first. price: per
    node and hour, any currency. spares: idle nodes kept ready. minimums: (cron, min): from each time that the
    expression of five fields names, in ``timezone``, the minimum is that one instead of ``min``, until the next such
    time of any of them.
    """

    name: str
    cloud: str
    template: Mapping[str, Any]
    capacity: Resources
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    min: int = 0
    max: int = 10
    priority: int = 0
    price: float = 0.0
    watts: float = 0.0
    spares: int = 0
    minimums: tuple[tuple[str, int], ...] = ()
    timezone: str = "UTC"
    idle: float = 300.0
    start_limit: float = 900.0
    stop_instead: bool = False


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """Of the whole cluster, our nodes only; None = none."""

    nodes: int | None = None
    cpu: int | None = None  # millicores
    memory: int | None = None  # bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all pools.

    cordon_pause: seconds between cordon and removal. unready_share: of the nodes that should be ready; when more than
    that are not, nothing is removed.
    """

    limits: SiteLimits = field(default_factory=SiteLimits)
    cordon_pause: float = 5.0
    unready_share: float = 0.45


MachinePhase = Literal["asked", "starting", "joined", "draining", "removing", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine that we asked for, as its OscarMachine object and its cloud say.

    asked: written down, the cloud not yet told or its answer unknown. starting: the cloud has it, no Ready node yet.
    joined: its node was Ready once. draining, removing: on the way out.
    """

    name: str
    pool: str
    phase: MachinePhase
    since: float  # when it came to this phase
    asked: float  # when it was asked for
    cloud_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """What keeps a pool from being used: no launch before ``closed_until``, for ``reason``. room: the quota's word."""

    closed_until: float = 0.0
    failures: int = 0
    reason: str = ""
    room: int | None = None


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """All that a decision is made from; can be written down and read again (record, replay, what-if).

    trustworthy: False while the API or watches are interrupted: then nothing is removed. clouds_away: those that do
    not answer.
    """

    now: float
    demand: tuple[Demand, ...]
    nodes: Mapping[str, NodeView]
    machines: Mapping[str, MachineView]
    health: Mapping[str, PoolHealth] = field(default_factory=dict)
    daemons: tuple[
        SchedulingGroup, ...
    ] = ()  # of DaemonSets, whose Pods a new node of ours would get if they fit there
    trustworthy: bool = True
    clouds_away: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Launch:
    """Ask for ``count`` machines of a pool in one batch. resume: stopped ones among them, to be started again."""

    pool: str
    count: int
    reason: str
    pods: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """A step on a machine's way out: cordon its node, undo that, drain and delete it, or give up one that never joined.

    blames_pool: whether this counts as a failed launch of the machine's pool.
    """

    machine: str
    step: Literal["cordon", "uncordon", "remove", "give_up"]
    reason: str
    blames_pool: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Demand that no pool can serve: for each pool the reason, e.g. {"gpu": "taint gpu=yes is not tolerated"}."""

    shape: SchedulingGroup
    count: int
    pods: tuple[str, ...]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and why not more."""

    launches: tuple[Launch, ...] = ()
    removals: tuple[Removal, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    held_back: str = ""  # why nothing is removed at all, if so
