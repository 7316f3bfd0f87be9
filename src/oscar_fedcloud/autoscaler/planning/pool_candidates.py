# SPDX-License-Identifier: Apache-2.0
"""The pools as sources of new nodes: what a node offers, and how many more may be requested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from oscar_fedcloud.autoscaler.model import (
    ClusterSnapshot,
    MachineView,
    Pool,
    PoolHealth,
    Resources,
    SchedulingGroup,
    SiteLimits,
)
from oscar_fedcloud.autoscaler.names import POOL_LABEL
from oscar_fedcloud.autoscaler.planning.fits import count_fit, kept_away
from oscar_fedcloud.autoscaler.planning.packing import NodeSlot
from oscar_fedcloud.autoscaler.planning.pool_health import backoff_until

ON_THE_WAY = ("asked", "starting")
ALIVE = ("asked", "starting", "joined")
EXISTING = (*ALIVE, "draining", "removing")  # count towards the maximum

# Labels that every kubelet sets; a pool's own labels override them.
_KUBELET_LABELS = {
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "beta.kubernetes.io/os": "linux",
    "beta.kubernetes.io/arch": "amd64",
    "kubernetes.io/hostname": "",
}


def labels_of(pool: Pool) -> Mapping[str, str]:
    """Return the labels that a node of the pool will have."""
    return {**_KUBELET_LABELS, **pool.labels, POOL_LABEL: pool.name}


def free_on_new_node(pool: Pool, daemons: Iterable[SchedulingGroup]) -> Resources:
    """Return what a new node of the pool offers to Pods, after the Pods of DaemonSets."""
    free, labels = dict(pool.capacity), labels_of(pool)
    free.setdefault("pods", 110)
    for daemon in daemons:
        if not kept_away(daemon, labels, pool.taints) and count_fit(free, daemon.requests):
            for name, value in daemon.requests:
                free[name] -= value
    return free


@dataclass(slots=True)
class PoolCandidate:
    """A pool during the choice of new nodes."""

    pool: Pool
    free: Resources  # of a new node
    labels: Mapping[str, str]  # of a new node
    count: int  # machines that exist, including those requested now
    stopped: tuple[str, ...] = ()  # machines that are started again before new ones are requested
    left: int = 0  # how many more machines may be requested
    reason: str = ""  # why not more
    new: int = 0  # machines requested now
    pods: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def node(self, name: str = "") -> NodeSlot:
        """Return an empty node of the pool that does not exist yet."""
        return NodeSlot(name, "coming", self.free, self.labels, self.pool.taints)


class PoolCandidates:
    """All pools during the choice of new nodes, within their own limits and those of the cluster."""

    def __init__(
        self, snapshot: ClusterSnapshot, pools: Sequence[Pool], limits: SiteLimits, failing: Mapping[str, str]
    ) -> None:
        self.limits = limits
        self.by_name = {
            pool.name: PoolCandidate(
                pool, free_on_new_node(pool, snapshot.daemons), labels_of(pool), *_machines(snapshot, pool.name)
            )
            for pool in sorted(pools, key=lambda pool: pool.name)
        }
        for candidate in self.by_name.values():
            candidate.left, candidate.reason = _own_headroom(candidate, snapshot, failing.get(candidate.pool.name, ""))

    def __iter__(self) -> Iterator[PoolCandidate]:
        return iter(self.by_name.values())

    def left(self, candidate: PoolCandidate) -> tuple[int, str]:
        """Return how many more machines of the pool may be requested now, and which limit applies."""
        left, reason = candidate.left, candidate.reason
        for bound, why in self._cluster_bounds(candidate.pool.capacity):
            if bound < left:
                left, reason = max(0, bound), why
        return left, reason

    def _cluster_bounds(self, capacity: Resources) -> Iterator[tuple[int, str]]:
        totals = {"nodes": self.limits.nodes, "cpu": self.limits.cpu, "memory": self.limits.memory}
        for name, limit in totals.items():
            each = 1 if name == "nodes" else capacity.get(name, 0)
            if limit is not None and each > 0:
                yield (limit - self._used(name)) // each, f"limits.{name} of the cluster is reached"

    def _used(self, name: str) -> int:
        return sum(
            candidate.count * (1 if name == "nodes" else candidate.pool.capacity.get(name, 0))
            for candidate in self.by_name.values()
        )

    def take(self, candidate: PoolCandidate, count: int, reason: str, pods: Iterable[str] = ()) -> None:
        """Request ``count`` machines of the pool."""
        candidate.new += count
        candidate.count += count
        candidate.left -= count
        candidate.pods.extend(pods)
        candidate.reasons.append(reason)
        if candidate.left <= 0 and not candidate.reason:
            candidate.reason = f"max of the pool, {candidate.pool.max}, is reached"


def _machines(snapshot: ClusterSnapshot, pool: str) -> tuple[int, tuple[str, ...]]:
    """Return how many machines of a pool exist, and which of them are stopped."""
    machines = [machine for machine in snapshot.machines.values() if machine.pool == pool]
    stopped = sorted(machine.name for machine in machines if machine.phase == "stopped")
    return sum(machine.phase in EXISTING for machine in machines), tuple(stopped)


def _own_headroom(candidate: PoolCandidate, snapshot: ClusterSnapshot, failing: str) -> tuple[int, str]:
    """Return how many more machines the pool's own settings and health allow, and which limit applies."""
    pool, health = candidate.pool, snapshot.health.get(candidate.pool.name, PoolHealth())
    if pool.cloud in snapshot.clouds_away:
        return 0, f"cloud {pool.cloud} does not answer"
    if failing:
        return 0, failing
    if opens := backoff_until(health, snapshot.now):
        until = datetime.fromtimestamp(opens, UTC).strftime("%H:%M:%S")  # absolute, so that repeated messages are equal
        return 0, f"after a failed launch the pool is closed until {until} UTC: {health.reason}"
    left = max(0, pool.max - candidate.count)
    if health.headroom is not None and health.headroom < left:
        return max(0, health.headroom), f"the quota allows {max(0, health.headroom)} more: {health.reason}".rstrip(": ")
    return left, "" if left else f"max of the pool, {pool.max}, is reached"


def on_the_way(machine: MachineView, snapshot: ClusterSnapshot) -> bool:
    """Return whether a machine is still to become a node. One whose node is ready has become one."""
    node = snapshot.nodes.get(machine.name)
    return machine.phase in ON_THE_WAY and not (node and node.ready)
