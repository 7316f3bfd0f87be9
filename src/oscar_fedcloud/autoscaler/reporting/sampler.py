# SPDX-License-Identifier: Apache-2.0
"""Record snapshots in the history and the metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, MachineView, NodeView, Pool
from oscar_fedcloud.autoscaler.planning.pool_health import backoff_until
from oscar_fedcloud.autoscaler.reporting.history import History
from oscar_fedcloud.autoscaler.reporting.metrics import Metrics

State = Literal["starting", "busy", "idle", "unready", "leaving", "stopped", "failed"]
STATES: tuple[State, ...] = get_args(State)
_SHORTEST = 1.0  # s between samples

Usage = Mapping[str, Mapping[str, int]]


def state_of(machine: MachineView, node: NodeView | None) -> State:
    """Return a machine's state in the report."""
    if machine.phase in ("asked", "starting"):
        return "starting"
    if machine.phase in ("draining", "removing"):
        return "leaving"
    if machine.phase in ("stopped", "failed"):
        return "stopped" if machine.phase == "stopped" else "failed"
    if node is None or not node.ready:
        return "unready"
    return "busy" if node.jobs or node.non_evictable or node.evictable else "idle"


def shares(snapshot: ClusterSnapshot, pools: Mapping[str, Pool], usage: Usage) -> dict[tuple[str, str], float]:
    """Return (pool, service) -> requested share of nodes; service "" is the unrequested rest."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for machine in snapshot.machines.values():
        pool = pools.get(machine.pool)
        if pool is None or machine.name not in snapshot.nodes:
            continue
        rest = 1.0
        for service, cpu in usage.get(machine.name, {}).items():
            share = min(rest, cpu / max(1, pool.capacity.get("cpu", 0)))
            found[machine.pool, service or "(others)"] += share
            rest -= share
        found[machine.pool, ""] += rest
    return dict(found)


class Sampler:
    """Records snapshots. service_of: returns the service of a pending Pod ``namespace/name``, or ""."""

    def __init__(self, history: History, metrics: Metrics, service_of: Callable[[str], str]) -> None:
        self.history = history
        self.metrics = metrics
        self.service_of = service_of
        self._last = 0.0
        self._waiting: dict[str, tuple[float, str]] = {}

    def note(
        self, snapshot: ClusterSnapshot, pools: Mapping[str, Pool], waits: Mapping[str, float], usage: Usage
    ) -> None:
        """Record a snapshot. Within a second of the last one, only ended waits are recorded."""
        self._note_waits(snapshot.now, waits)
        if snapshot.now - self._last < _SHORTEST:
            return
        self._last = snapshot.now
        states: Counter[tuple[str, str]] = Counter(
            (each.pool, state_of(each, snapshot.nodes.get(each.name))) for each in snapshot.machines.values()
        )
        self.history.record(snapshot.now, states, shares(snapshot, pools, usage))
        self._set_gauges(snapshot, pools, len(waits))

    def _note_waits(self, now: float, waits: Mapping[str, float]) -> None:
        for pod in [each for each in self._waiting if each not in waits]:
            since, service = self._waiting.pop(pod)
            self.history.waited(now, service, max(0.0, now - since))
            self.metrics.waited.observe(max(0.0, now - since))
        for pod, since in waits.items():
            if pod not in self._waiting:
                self._waiting[pod] = (since, self.service_of(pod))

    def _set_gauges(self, snapshot: ClusterSnapshot, pools: Mapping[str, Pool], waiting: int) -> None:
        metrics = self.metrics
        phases = Counter((each.pool, each.phase) for each in snapshot.machines.values())
        metrics.machines.clear()
        for (pool, phase), count in phases.items():
            metrics.machines.labels(pool, phase).set(count)
        for name in pools:
            health = snapshot.health.get(name)
            opens = backoff_until(health, snapshot.now) if health else 0.0
            metrics.pool_rests.labels(name).set(max(0.0, opens - snapshot.now))
        metrics.waiting.set(waiting)
