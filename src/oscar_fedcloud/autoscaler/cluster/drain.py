# SPDX-License-Identifier: Apache-2.0
"""List the Pods on a node, by a consistent read rather than from a watch, and drain them.

A node on which work runs is never touched. The module ``pods`` defines which Pods are work, both for decisions and for
this last check. Other Pods leave through the Eviction API, which honours PodDisruptionBudgets and their grace periods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.names import PODS
from oscar_fedcloud.kube import KubeClient, KubeError, ResourceType

_PAUSE = 1.0  # s between checks of Pods that are leaving
_WHY = {"job": "of a Job has not ended", "non_evictable": "must not be evicted"}


@dataclass(frozen=True, slots=True)
class Contents:
    """The Pods of a node that matter for its removal."""

    blockers: tuple[str, ...]  # why the node must stay, one sentence each
    evictable: tuple[str, ...]  # ``namespace/name``

    @property
    def empty(self) -> bool:
        """Return whether nothing would be lost with the node."""
        return not self.blockers and not self.evictable


def contents(pods: Sequence[Pod]) -> Contents:
    """Return what the Pods of one node mean for its removal."""
    alive = [pod for pod in pods if not pod.ended]
    return Contents(
        tuple(f"Pod {pod.key} {_WHY[pod.role]}" for pod in alive if pod.role in _WHY),
        tuple(pod.key for pod in alive if pod.role == "evictable"),
    )


async def pods_on(client: KubeClient, node: str) -> Contents:
    """Return what is on the node now, by a consistent read. Raises KubeError."""
    pods, _ = await client.list_versioned(PODS, Pod, fields=f"spec.nodeName={node}")
    return contents(pods)


async def drain(client: KubeClient, node: str, limit: float) -> Contents:
    """Evict the evictable Pods and wait up to ``limit`` seconds until they have left. Returns what is left then.

    Stops as soon as a blocker appears. Raises KubeError.
    """
    found = await pods_on(client, node)
    asked: set[str] = set()
    try:
        async with asyncio.timeout(limit):
            while found.evictable and not found.blockers:
                waiting = [pod for pod in found.evictable if pod not in asked]
                results = await asyncio.gather(*(_evict(client, pod) for pod in waiting))
                asked.update(pod for pod, accepted in zip(waiting, results, strict=True) if accepted)
                await asyncio.sleep(_PAUSE)
                found = await pods_on(client, node)
    except TimeoutError:
        return await pods_on(client, node)
    return found


async def _evict(client: KubeClient, pod: str) -> bool:
    """Request the eviction of a Pod. Returns False if a PodDisruptionBudget forbids it for now."""
    namespace, _, name = pod.partition("/")
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    try:
        await client.request("POST", ResourceType("v1", "pods", namespace).path(name, "eviction"), body)
    except KubeError as error:
        if error.status == 404:
            return True
        if error.status == 429:
            return False
        raise
    return True
