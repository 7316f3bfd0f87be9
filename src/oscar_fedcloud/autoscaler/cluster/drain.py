# SPDX-License-Identifier: Apache-2.0
"""What runs on a node, read from the API server and not from a watch, and how it leaves.

The first rule of all: a node on which work runs is not touched. Which Pods are work is said in ``pods``, for decisions
and for this last look alike. The others leave through the Eviction API, which honours PodDisruptionBudgets, and have
their own grace period.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.names import PODS
from oscar_fedcloud.kube import KubeClient, KubeError, ResourceType

_PAUSE = 1.0  # s between looks at Pods that are leaving
_WHY = {"job": "of a Job has not ended", "non_evictable": "must not be evicted"}


@dataclass(frozen=True, slots=True)
class Contents:
    """The Pods of a node that matter. blockers: why it must stay, a sentence each. evictable: ``namespace/name``."""

    blockers: tuple[str, ...]
    evictable: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost with the node."""
        return not self.blockers and not self.evictable


def contents(pods: Sequence[Pod]) -> Contents:
    """What the Pods of one node mean for its removal."""
    alive = [pod for pod in pods if not pod.ended]
    return Contents(
        tuple(f"Pod {pod.key} {_WHY[pod.role]}" for pod in alive if pod.role in _WHY),
        tuple(pod.key for pod in alive if pod.role == "evictable"),
    )


async def pods_on(client: KubeClient, node: str) -> Contents:
    """What is on the node now: a consistent read. Raises KubeError."""
    pods, _ = await client.list_versioned(PODS, Pod, fields=f"spec.nodeName={node}")
    return contents(pods)


async def drain(client: KubeClient, node: str, limit: float) -> Contents:
    """Evict what may leave and wait until it has left, for ``limit`` seconds; what is there in the end.

    It ends at once when a blocker shows up. Raises KubeError.
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
    """Ask for the eviction of a Pod; False when a PodDisruptionBudget forbids it for now."""
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
