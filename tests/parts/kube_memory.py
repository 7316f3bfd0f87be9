# SPDX-License-Identifier: Apache-2.0
"""An API server in memory that keeps a journal and can fail at any request, for tests of what happens when."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from oscar_fedcloud.kube import KubeError, KubeUnavailable, ResourceType

Object = dict[str, Any]
T = TypeVar("T")


class KubeMemory:
    """Has the methods of KubeClient that actions use. fails: called with each request's line; True = no answer."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.objects: dict[str, Object] = {}
        self.fails: Callable[[str], bool] = lambda line: False
        self._version = 0

    def put(self, resource: ResourceType, body: Object) -> None:
        """An object that is there."""
        self.objects[resource.path(body["metadata"]["name"])] = body

    def has(self, resource: ResourceType, name: str) -> Object | None:
        """An object, if it is there."""
        return self.objects.get(resource.path(name))

    def _note(self, verb: str, path: str) -> None:
        line = f"{verb} {path}"
        if self.fails(line):
            raise KubeUnavailable(0, "NoAnswer", f"no answer to {line}")
        self.journal.append(line)

    def _stamp(self, body: Object) -> Object:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(body)

    async def get(self, resource: ResourceType, name: str, part: str = "") -> Object:
        self._note("GET", resource.path(name))
        if (found := self.objects.get(resource.path(name))) is None:
            raise KubeError(404, "NotFound", f"{name} not found")
        return copy.deepcopy(found)

    async def list_objects(self, resource: ResourceType, labels: str = "", fields: str = "") -> list[Object]:
        self._note("LIST", f"{resource.path()}{'?' + fields if fields else ''}")
        found = [each for path, each in self.objects.items() if path.startswith(f"{resource.path()}/")]
        if resource.plural == "pods":
            found = [each for path, each in self.objects.items() if "/pods/" in path]
        node = fields.removeprefix("spec.nodeName=")
        return [copy.deepcopy(each) for each in found if not fields or each["spec"].get("nodeName") == node]

    async def list_versioned(
        self, resource: ResourceType, kind: type[T], labels: str = "", fields: str = "", *, lenient: bool = False
    ) -> tuple[list[T], str]:
        found = await self.list_objects(resource, labels, fields)
        return [msgspec.convert(each, kind) for each in found], str(self._version)

    async def create(self, resource: ResourceType, body: Object) -> Object:
        name = body["metadata"]["name"]
        self._note("CREATE", resource.path(name))
        if resource.path(name) in self.objects:
            raise KubeError(409, "AlreadyExists", f"{name} is there")
        body = copy.deepcopy(body)
        body["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.objects[resource.path(name)] = body
        return self._stamp(body)

    async def replace(self, resource: ResourceType, name: str, body: Object, part: str = "") -> Object:
        self._note("REPLACE", resource.path(name))
        found = self.objects.get(resource.path(name))
        if found is None or found["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", f"{name} has changed")
        self.objects[resource.path(name)] = copy.deepcopy(body)
        return self._stamp(self.objects[resource.path(name)])

    async def patch(self, resource: ResourceType, name: str, body: Object, part: str = "", **_: Any) -> Object:
        self._note("PATCH", resource.path(name))
        if (found := self.objects.get(resource.path(name))) is None:
            raise KubeError(404, "NotFound", f"{name} not found")
        merge(found, body)
        return self._stamp(found)

    async def delete(self, resource: ResourceType, name: str, body: Object | None = None) -> bool:
        self._note("DELETE", resource.path(name))
        return self.objects.pop(resource.path(name), None) is not None

    async def request(self, method: str, path: str, body: Object | None = None, **_: Any) -> Object:
        """An eviction, which takes its Pod away at once."""
        self._note(method, path)
        assert path.endswith("/eviction")
        self.objects.pop(path.removesuffix("/eviction"), None)
        return {}


def merge(target: Object, change: Object) -> None:
    """A merge patch (RFC 7386)."""
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
