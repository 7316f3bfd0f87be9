# SPDX-License-Identifier: Apache-2.0
"""The cluster as it stands, kept up to date in memory by watches that resume."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog

from oscar_fedcloud.autoscaler.cluster.backlog import BacklogUnavailable, InvokerBacklog
from oscar_fedcloud.autoscaler.cluster.objects import DaemonSet, Job, Node
from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.cluster.state import ChangeType, State
from oscar_fedcloud.autoscaler.model import ClusterSnapshot as DecisionSnapshot
from oscar_fedcloud.autoscaler.model import MachineView, NodeView, PoolHealth
from oscar_fedcloud.autoscaler.names import NODES, PODS
from oscar_fedcloud.kube import KubeClient, ListSnapshot, ResourceType, watch
from oscar_fedcloud.runtime.tasks import Work
from oscar_fedcloud.runtime.waiting import in_words, is_cancelled

log = structlog.get_logger(__name__)

_JOBS = ResourceType("batch/v1", "jobs")
_DAEMON_SETS = ResourceType("apps/v1", "daemonsets")
_ALIVE = "status.phase!=Succeeded,status.phase!=Failed"  # Pods that ended take no room; the API server leaves them out
_WATCHES = 4
_GATHER = 0.04  # s; less than the batching window of decisions, so that what comes together is decided together
_ASK, _ASK_AWAY = 1.0, 10.0  # s between questions to the invoker, while it answers and while it does not


class Observer:
    """Watches nodes, Pods, Jobs and DaemonSets, and asks the invoker, by the tasks that ``works`` names."""

    def __init__(
        self, client: KubeClient, *, invoker: InvokerBacklog | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.client = client
        self.invoker = invoker
        self.state = State(clock)
        self.synced = asyncio.Event()  # everything was read once
        self._listed: set[str] = set()
        self._troubles: dict[str, str] = {}

    @property
    def changed(self) -> asyncio.Event:
        """Set by what a decision should look at soon; clear it before a snapshot is taken."""
        return self.state.changed

    @property
    def ready(self) -> bool:
        """Whether everything was read once."""
        return len(self._listed) == _WATCHES

    @property
    def troubles(self) -> Mapping[str, str]:
        """Which watches are interrupted, and why."""
        return self._troubles

    @property
    def waits(self) -> dict[str, float]:
        """Pods for which the scheduler found no node -> since when (s)."""
        return {key: pod.since for key, pod in self.state.waiting.pods.items() if pod.waiting == "due"}

    def snapshot(
        self,
        now: float,
        *,
        machines: Mapping[str, MachineView],
        health: Mapping[str, PoolHealth],
        clouds_away: frozenset[str] = frozenset(),
    ) -> DecisionSnapshot:
        """All that a decision is made from; trustworthy only while no watch is interrupted."""
        trustworthy = self.ready and not self.troubles
        return self.state.snapshot(
            now, machines=machines, health=health, clouds_away=clouds_away, trustworthy=trustworthy
        )

    def node(self, name: str) -> NodeView | None:
        """A node as it was last seen."""
        return self.state.find_node(name)

    def pod(self, key: str) -> Pod | None:
        """A Pod by ``namespace/name``, as long as it has not ended."""
        return self.state.find_pod(key)

    def usage(self) -> dict[str, dict[str, int]]:
        """Node -> service -> millicores that its Pods ask for; "" = Pods of no service."""
        return self.state.usage()

    def works(self) -> list[tuple[str, Work]]:
        """Return the tasks that keep the picture up to date, by name; each runs until it is cancelled."""
        works: list[tuple[str, Work]] = [
            ("watch nodes", partial(self._watch, NODES, Node, self.state.node)),
            ("watch pods", partial(self._watch, PODS, Pod, self.state.pod, _ALIVE)),
            ("watch jobs", partial(self._watch, _JOBS, Job, self.state.job)),
            ("watch daemonsets", partial(self._watch, _DAEMON_SETS, DaemonSet, self.state.daemon_set)),
        ]
        if self.invoker is not None:
            works.append(("backlog", partial(self._ask, self.invoker)))
        return works

    async def _watch(
        self, resource: ResourceType, kind: type[Any], take: Callable[[ChangeType, Any], None], fields: str = ""
    ) -> None:
        """Follow one collection. An unexpected failure makes its picture doubtful until it is listed again."""
        try:
            await self._follow(resource, kind, take, fields)
        except BaseException as error:
            if not is_cancelled(error):
                self._troubles[resource.plural] = in_words(error)
            raise

    async def _follow(
        self, resource: ResourceType, kind: type[Any], take: Callable[[ChangeType, Any], None], fields: str
    ) -> None:
        name = resource.plural

        def on_trouble(trouble: str) -> None:
            if trouble:
                self._troubles[name] = trouble
            else:
                self._troubles.pop(name, None)

        async for each in watch(self.client, resource, kind, fields=fields, on_trouble=on_trouble, gather=_GATHER):
            if isinstance(each, ListSnapshot):
                for item in each.items:
                    take("ADDED", item)
                self.state.keep_only(name, {_key(item) for item in each.items})
                self._listed.add(name)
                if self.ready:
                    self.synced.set()
            else:
                take(each.type, each.object)

    async def _ask(self, invoker: InvokerBacklog) -> None:
        answered = True
        while True:
            self.state.jobs.ask(self.state.clock())
            try:
                rows = await invoker.rows()
            except BacklogUnavailable as error:
                if answered:
                    log.warning("the invoker's backlog is not known, Pods still count", error=str(error))
                answered, rows = False, []
            else:
                answered = True
            if self.state.jobs.answer(rows):
                self.changed.set()
            await asyncio.sleep(_ASK if answered else _ASK_AWAY)


def _key(item: Any) -> str:
    """How the state knows an object."""
    if isinstance(item, Pod):
        return item.key
    name: str = item.metadata.key if item.metadata.namespace else item.metadata.name
    return name
