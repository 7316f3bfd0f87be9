# SPDX-License-Identifier: Apache-2.0
"""A cluster, a cloud and a scheduler in a few lines, in which chance decides what comes when.

What makes it hard: the autoscaler sees an older state than there is, the scheduler uses a node for a while after its
cordon, machines boot slowly or never join, launches fail, nodes drop out, the API goes away, the autoscaler restarts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from parts.scaling import GIB, NOW, pool, shape

from oscar_fedcloud.autoscaler.model import (
    ClusterSnapshot,
    Decision,
    Demand,
    Launch,
    MachineView,
    NodeView,
    PoolHealth,
    Removal,
    Rules,
    SchedulingGroup,
)
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.autoscaler.planning.fits import count_fit
from oscar_fedcloud.autoscaler.planning.pool_health import failed

SCHEDULER_LAG = 4.0  # s for which the scheduler may not know of a cordon
SHAPES = [shape(1000), shape(3000, 4 * GIB), shape(500, 8 * GIB)]
POOLS = [
    pool("near", 4000, max=3, priority=1, idle=3.0, startup_timeout=25.0),
    pool("far", 8000, 32 * GIB, max=2, idle=3.0, startup_timeout=25.0),
]
BY_NAME = {each.name: each for each in POOLS}


@dataclass(slots=True)
class Job:
    """A Job with one Pod."""

    name: str
    shape: SchedulingGroup
    arrives: float
    lasts: float
    node: str = ""
    ends: float = 0.0

    def runs(self, now: float) -> bool:
        return bool(self.node) and now < self.ends


@dataclass(slots=True)
class Node:
    """A node as it really is."""

    pool: str
    cordoned: float | None = None
    out_until: float = 0.0
    idle_since: float | None = None


@dataclass
class Cluster:
    """One schedule; ``run`` it, then look at ``killed`` and at what is left."""

    chance: random.Random
    rules: Rules
    now: float = NOW
    jobs: list[Job] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    machines: dict[str, MachineView] = field(default_factory=dict)
    boots: dict[str, float] = field(default_factory=dict)
    deleting: list[str] = field(default_factory=list)
    health: dict[str, PoolHealth] = field(default_factory=dict)
    away_until: float = 0.0
    killed: list[str] = field(default_factory=list)
    made: int = 0
    seen: ClusterSnapshot | None = None

    def fill(self) -> None:
        """Jobs that come during a minute."""
        for number in range(self.chance.randint(1, 10)):
            arrives, lasts = NOW + self.chance.uniform(0, 40), self.chance.choice((2.0, 4.0, 25.0))
            self.jobs.append(Job(f"ns/j{number}", self.chance.choice(SHAPES), arrives, lasts))

    def run(self, steps: int) -> None:
        """Let time pass in steps of random length, until nothing is left to do."""
        for _ in range(steps):
            self.step()
            if self.done and not self.machines:
                return

    @property
    def done(self) -> bool:
        return all(job.node and job.ends <= self.now for job in self.jobs)

    def step(self) -> None:
        self.now += self.chance.choice((0.5, 1.0, 3.0, 8.0, 12.0))
        self.schedule()
        self.delete()
        self.disturb()
        self.join()
        self.schedule()
        if self.now >= self.away_until:
            fresh = self.look()
            shown, self.seen = self.chance.choice([fresh, fresh, self.seen or fresh]), fresh
            self.act(decide(replace(shown, now=self.now, machines=dict(self.machines)), POOLS, self.rules))
        elif self.seen:
            blind = replace(self.seen, now=self.now, machines=dict(self.machines), trustworthy=False)
            assert not [each for each in decide(blind, POOLS, self.rules).removals if each.step != "uncordon"]

    # -- the world ---------------------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Bind what fits, also to nodes whose cordon the scheduler has not seen yet."""
        for job in self.jobs:
            if job.node or job.arrives > self.now:
                continue
            for name in self.chance.sample(sorted(self.nodes), len(self.nodes)):
                node = self.nodes[name]
                closed = node.cordoned is not None and self.now - node.cordoned > SCHEDULER_LAG
                if self.ready(name) and not closed and count_fit(self.free(name), job.shape.requests):
                    job.node, job.ends, node.idle_since = name, self.now + job.lasts, None
                    break

    def ready(self, name: str) -> bool:
        return self.nodes[name].out_until <= self.now

    def running(self, name: str) -> list[Job]:
        return [job for job in self.jobs if job.node == name and job.runs(self.now)]

    def free(self, name: str) -> dict[str, int]:
        free = dict(BY_NAME[self.nodes[name].pool].capacity)
        for job in self.running(name):
            for resource, value in job.shape.requests:
                free[resource] -= value
        return free

    def delete(self) -> None:
        """The cloud deletes what it was told to, whatever runs there."""
        for name in self.deleting:
            self.killed += [job.name for job in self.running(name)]
            self.nodes.pop(name, None)
            self.machines.pop(name)
            self.boots.pop(name, None)
        self.deleting.clear()

    def disturb(self) -> None:
        if self.chance.random() < 0.05:
            self.away_until = self.now + self.chance.uniform(1, 40)
        if self.nodes and self.chance.random() < 0.05:
            self.nodes[self.chance.choice(sorted(self.nodes))].out_until = self.now + self.chance.uniform(1, 20)
        if self.chance.random() < 0.05:  # a restart: since when nodes are idle is forgotten
            for node in self.nodes.values():
                node.idle_since = node.idle_since and self.now

    def join(self) -> None:
        for name, when in list(self.boots.items()):
            if when <= self.now:
                del self.boots[name]
                self.nodes[name] = Node(self.machines[name].pool, idle_since=self.now)
                self.machines[name] = replace(self.machines[name], phase="joined", since=self.now)
        for name, node in self.nodes.items():
            if not self.running(name):
                node.idle_since = node.idle_since or self.now

    # -- the autoscaler around the decision --------------------------------------------------------------------------

    def look(self) -> ClusterSnapshot:
        waiting = [job for job in self.jobs if not job.node and job.arrives <= self.now]
        demand = tuple(
            Demand(each, len(names), tuple(sorted(names)))
            for each in SHAPES
            if (names := [job.name for job in waiting if job.shape == each])
        )
        nodes = {name: self.view(name) for name in self.nodes}
        return ClusterSnapshot(self.now, demand, nodes, dict(self.machines), dict(self.health))

    def view(self, name: str) -> NodeView:
        node, jobs = self.nodes[name], len(self.running(name))
        return NodeView(
            name=name,
            pool=node.pool,
            ready=self.ready(name),
            schedulable=node.cordoned is None,
            labels={},
            taints=(),
            free=self.free(name),
            jobs=jobs,
            idle_since=None if jobs else node.idle_since,
        )

    def act(self, decision: Decision) -> None:
        for launch in decision.launches:
            self.launch(launch)
        for removal in decision.removals:
            self.remove(removal)

    def launch(self, launch: Launch) -> None:
        if self.chance.random() < 0.15:
            health = self.health.get(launch.pool, PoolHealth())
            self.health[launch.pool] = failed(health, self.now, "no room", first=5.0, most=20.0)
            return
        for _ in range(launch.count):
            self.made += 1
            name = f"m{self.made:03}"
            self.machines[name] = MachineView(name, launch.pool, "starting", self.now, self.now)
            never = self.chance.random() < 0.1
            self.boots[name] = float("inf") if never else self.now + self.chance.uniform(3, 20)

    def remove(self, removal: Removal) -> None:
        name = removal.machine
        machine, node = self.machines.get(name), self.nodes.get(name)
        if machine is None or machine.phase == "removing":
            return
        if removal.step == "cordon" and node:
            node.cordoned = self.now
            self.machines[name] = replace(machine, phase="draining", since=self.now)
        elif node and (removal.step == "uncordon" or self.running(name)):  # the consistent read: work came after all
            node.cordoned = None
            self.machines[name] = replace(machine, phase="joined", since=self.now)
        else:
            self.machines[name] = replace(machine, phase="removing", since=self.now)
            self.deleting.append(name)
