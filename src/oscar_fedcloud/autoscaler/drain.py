# SPDX-License-Identifier: Apache-2.0
"""What runs on a node, read from the API server and not from a watch, and how it leaves.

The first rule of all: a node on which work runs is not touched. Work is a Pod of a Job, a Pod that no controller would
make again, and a Pod that says it is not safe to evict. The others leave through the Eviction API, which honours
PodDisruptionBudgets, and have their own grace period.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oscar_fedcloud.autoscaler.names import PODS
from oscar_fedcloud.kube import KubeClient, KubeError, Resource

SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_MIRROR = "kubernetes.io/config.mirror"
_ENDED = ("Succeeded", "Failed")
_PAUSE = 1.0  # s between looks at Pods that are leaving

Pod = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Contents:
    """The Pods of a node that matter. blockers: why it must stay, a sentence each. movable: (namespace, name)."""

    blockers: tuple[str, ...]
    movable: tuple[tuple[str, str], ...]

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost with the node."""
        return not self.blockers and not self.movable


def contents(pods: Sequence[Pod]) -> Contents:
    """What the Pods of one node mean for its removal."""
    blockers, movable = [], []
    for pod in pods:
        if _stays_with_node(pod):
            continue
        if why := blocker(pod):
            blockers.append(f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']} {why}")
        else:
            movable.append((pod["metadata"]["namespace"], pod["metadata"]["name"]))
    return Contents(tuple(blockers), tuple(movable))


def _stays_with_node(pod: Pod) -> bool:
    metadata = pod["metadata"]
    return (
        pod.get("status", {}).get("phase") in _ENDED
        or _MIRROR in metadata.get("annotations", {})
        or _controller(pod) == "DaemonSet"
    )


def blocker(pod: Pod) -> str:
    """Why a Pod keeps its node, as the end of a sentence; "" = it may be evicted."""
    safe = pod["metadata"].get("annotations", {}).get(SAFE_TO_EVICT, "")
    kind = _controller(pod)
    if kind == "Job":
        return "of a Job has not ended"
    if safe == "false":
        return f"has {SAFE_TO_EVICT}=false"
    if safe == "true":
        return ""
    if not kind:
        return "has no controller that would make it again"
    if any("emptyDir" in volume and volume["emptyDir"].get("medium") != "Memory" for volume in _volumes(pod)):
        return "keeps data in an emptyDir of the node"
    return ""


def _volumes(pod: Pod) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pod.get("spec", {}).get("volumes") or []
    return found


def _controller(pod: Pod) -> str:
    owners = pod["metadata"].get("ownerReferences", [])
    return next((owner["kind"] for owner in owners if owner.get("controller")), "")


async def look(client: KubeClient, node: str) -> Contents:
    """What is on the node now: a consistent read. Raises KubeError."""
    return contents(await client.list_objects(PODS, fields=f"spec.nodeName={node}"))


async def drain(client: KubeClient, node: str, limit: float) -> Contents:
    """Evict what may leave and wait until it has left, for ``limit`` seconds; what is there in the end.

    It ends at once when a blocker shows up. Raises KubeError.
    """
    found = await look(client, node)
    asked: set[tuple[str, str]] = set()
    try:
        async with asyncio.timeout(limit):
            while found.movable and not found.blockers:
                waiting = [pod for pod in found.movable if pod not in asked]
                results = await asyncio.gather(*(_evict(client, *pod) for pod in waiting))
                asked.update(pod for pod, accepted in zip(waiting, results, strict=True) if accepted)
                await asyncio.sleep(_PAUSE)
                found = await look(client, node)
    except TimeoutError:
        return await look(client, node)
    return found


async def _evict(client: KubeClient, namespace: str, name: str) -> bool:
    """Ask for the eviction of a Pod; False when a PodDisruptionBudget forbids it for now."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    try:
        await client.request("POST", Resource("v1", "pods", namespace).path(name, "eviction"), body)
    except KubeError as error:
        if error.status == 404:
            return True
        if error.status == 429:
            return False
        raise
    return True
