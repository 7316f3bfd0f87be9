# SPDX-License-Identifier: Apache-2.0
"""What happened to Pods and nodes, as the API server tells it: by watches of our own, with its revisions.

A revision is the number of a change in the order of all changes of the cluster, so no clock is compared.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import httpx
import msgspec
from parts.kube import KubeServer

_ENDED = ("Succeeded", "Failed")


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = "0"


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Condition(msgspec.Struct):
    type: str = ""
    reason: str = ""


class _Status(msgspec.Struct):
    phase: str = ""
    conditions: list[_Condition] = []


class _Object(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status | str = msgspec.field(default_factory=_Status)  # a string in an error
    message: str = ""


class _Event(msgspec.Struct):
    type: str
    object: _Object


@dataclass
class Seen:
    """A Pod. Revisions at which it was bound to its node, and at which it had ended or was gone; 0 = not yet.

    unschedulable: when we were told that no node has room for it, s since the epoch.
    """

    node: str = ""
    bound: int = 0
    ended: int = 0
    unschedulable: float = 0.0


class PodRecord:
    """All Pods since it began, and the nodes that were deleted -> their last revision."""

    def __init__(self, kube: KubeServer) -> None:
        self.kube = kube
        self.pods: dict[str, Seen] = {}
        self.deleted_nodes: dict[str, int] = {}
        self.events = 0
        self.bound = self.ended = 0  # how many Pods are, or were
        self.failure = ""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> PodRecord:
        for path, take in (("/api/v1/pods", self._take_pod), ("/api/v1/nodes", self._take_node)):
            with self.kube.client() as http:
                begin = int(http.get(path, params={"limit": 1}).json()["metadata"]["resourceVersion"])
            self._threads.append(threading.Thread(target=self._follow, args=(path, begin, take), daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    # -- what is asked of it ---------------------------------------------------------------------------------------

    def check(self) -> PodRecord:
        """Itself. Raises AssertionError when something may be missing in it."""
        assert not self.failure, self.failure
        return self

    def killed(self, gone: Mapping[str, int]) -> list[str]:
        """Pods that had not ended at the revision at which their node was gone, or came to it later still."""
        return [
            f"{name} on {seen.node}: bound at {seen.bound}, ended at {seen.ended}, node gone at {gone[seen.node]}"
            for name, seen in self.pods.items()
            if seen.node in gone and not 0 < seen.ended <= gone[seen.node]
        ]

    # -- watching --------------------------------------------------------------------------------------------------

    def _follow(self, path: str, version: int, take: Callable[[_Event, int], None]) -> None:
        decoder = msgspec.json.Decoder(_Event)
        with self.kube.client() as http:
            while not self._stop.is_set():
                try:
                    for line in _lines(http, path, version):
                        event = decoder.decode(line)
                        if event.type == "ERROR":
                            self.failure = f"the record of {path} has a gap: {event.object.message}"
                            return
                        version = int(event.object.metadata.resource_version)
                        if event.type != "BOOKMARK":
                            take(event, version)
                        if self._stop.is_set():
                            return
                except httpx.HTTPError:
                    time.sleep(0.1)  # it goes on from the last revision

    def _take_pod(self, event: _Event, revision: int) -> None:
        self.events += 1
        pod, status = event.object, event.object.status
        assert isinstance(status, _Status)
        seen = self.pods.setdefault(f"{pod.metadata.namespace}/{pod.metadata.name}", Seen())
        if pod.spec.node_name and not seen.bound:
            seen.node, seen.bound = pod.spec.node_name, revision
            self.bound += 1
        if not seen.ended and (event.type == "DELETED" or status.phase in _ENDED):
            seen.ended = revision
            self.ended += 1
        if not seen.unschedulable and any(each.reason == "Unschedulable" for each in status.conditions):
            seen.unschedulable = time.time()

    def _take_node(self, event: _Event, revision: int) -> None:
        if event.type == "DELETED":
            self.deleted_nodes[event.object.metadata.name] = revision


def _lines(http: httpx.Client, path: str, version: int) -> Iterator[bytes]:
    query = {"watch": "true", "resourceVersion": str(version), "allowWatchBookmarks": "true"}
    with http.stream("GET", path, params=query, timeout=httpx.Timeout(30, read=None)) as answer:
        answer.raise_for_status()
        rest = b""
        for chunk in answer.iter_raw():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
