# SPDX-License-Identifier: Apache-2.0
"""A cluster in memory that runs Jobs: the API server of ``kube_memory`` with watches, and what a kubelet would do."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from parts.kube_memory import KubeMemory, Object
from parts.virtual_time import VirtualLoop

from oscar_fedcloud.kube import KubeError, KubeUnavailable, ResourceType

T = TypeVar("T")
_WATCH = 290.0  # s that one request of a watch lasts


@dataclass
class Event:
    """What a watch tells."""

    version: int
    path: str
    line: bytes


class Answer:
    """The answer to a watch, as far as its reader looks at it."""

    connection = None

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines
        self.content = self

    def iter_any(self) -> AsyncIterator[bytes]:
        """The lines."""
        return self._lines


class KubeCluster(KubeMemory):
    """Has the methods of KubeClient.

    length: s that a Job runs (None: until it is ended). losing: so many answers to requests for a Job are lost.
    """

    def __init__(self, namespace: str) -> None:
        super().__init__([])
        self.jobs = ResourceType("batch/v1", "jobs", namespace)
        self.pods = ResourceType("v1", "pods", namespace)
        self.length: float | None = 1.0
        self.losing = 0
        self._events: list[Event] = []
        self._loop: VirtualLoop | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._loop = loop

    async def close(self) -> None:
        """Nothing is open."""

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("the client is used from a thread before it was opened")
        self._loop.count(-1)  # time goes on while this thread waits for the loop
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        finally:
            self._loop.count(1)

    # -- requests --------------------------------------------------------------------------------------------------

    async def list_objects(self, resource: ResourceType, labels: str = "", fields: str = "") -> list[Object]:
        name = dict(part.partition("=")[::2] for part in fields.split(",")).get("metadata.name", "")
        found = [each for path, each in self.objects.items() if path.startswith(f"{resource.path()}/")]
        return [copy.deepcopy(each) for each in found if name in ("", each["metadata"]["name"])]

    async def create(self, resource: ResourceType, body: Object) -> Object:
        made = await super().create(resource, body)
        self._changed("ADDED", resource.path(made["metadata"]["name"]))
        if resource.plural == "jobs":
            self._run(made)
        return made

    async def delete(self, resource: ResourceType, name: str, body: Object | None = None) -> bool:
        for path in (resource.path(name), self.pods.path(name) if resource.plural == "jobs" else ""):
            if path in self.objects:
                self._changed("DELETED", path)
        self.objects.pop(self.pods.path(name), None)
        return await super().delete(resource, name, body)

    async def send(self, method: str, path: str, body: bytes | None = None, **_: Any) -> bytes:
        """Make a Job, read an object or the log of a Pod."""
        if method == "POST":
            assert path == self.jobs.path()
            made = await self.create(self.jobs, msgspec.json.decode(body or b""))
            if self.losing:
                self.losing -= 1
                raise KubeUnavailable(0, "NoAnswer", f"no answer to {method} {path}")
            return msgspec.json.encode(made)
        assert method == "GET"
        if path.endswith("/log"):
            return b"a log\n"
        if path not in self.objects:
            raise KubeError(404, "NotFound", f"{path} not found")
        return msgspec.json.encode(self.objects[path])

    @asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str], silence: float | None) -> AsyncIterator[Answer]:
        """Watch a collection."""
        yield Answer(self._told(path, int(query["resourceVersion"])))

    async def _told(self, path: str, version: int) -> AsyncIterator[bytes]:
        end = asyncio.get_running_loop().time() + _WATCH
        while asyncio.get_running_loop().time() < end:
            for event in [one for one in self._events if one.version > version and one.path.startswith(f"{path}/")]:
                version = event.version
                yield event.line
            await asyncio.sleep(0.25)

    def _changed(self, what: str, path: str) -> None:
        body = self._stamp(self.objects[path])
        line = msgspec.json.encode({"type": what, "object": body}) + b"\n"
        self._events.append(Event(int(body["metadata"]["resourceVersion"]), path, line))

    # -- Jobs ------------------------------------------------------------------------------------------------------

    def _run(self, job: Object) -> None:
        name = job["metadata"]["name"]
        labels = {**job["metadata"].get("labels", {}), "batch.kubernetes.io/job-name": name}
        pod = {"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
        self.put(self.pods, pod)
        self._changed("ADDED", self.pods.path(name))
        if self.length is not None:
            asyncio.get_running_loop().call_later(self.length, self.end, name)

    def end(self, name: str) -> None:
        """Let a Job succeed."""
        pod, job = self.has(self.pods, name), self.has(self.jobs, name)
        if pod is None or job is None:
            return
        ended = {"exitCode": 0, "reason": "Completed", "message": "phase=done\nexit=0\n"}
        status = {"name": "oscar-container", "state": {"terminated": ended}}
        pod["status"] = {"phase": "Succeeded", "containerStatuses": [status]}
        self._changed("MODIFIED", self.pods.path(name))
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        self._changed("MODIFIED", self.jobs.path(name))

    def live(self) -> set[str]:
        """Jobs that run."""
        found = [each for path, each in self.objects.items() if path.startswith(f"{self.pods.path()}/")]
        return {each["metadata"]["name"] for each in found if each["status"]["phase"] == "Running"}
