# SPDX-License-Identifier: Apache-2.0
"""Paths of resources in the API."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class ResourceType:
    """The objects of one kind, e.g. ``ResourceType("batch/v1", "jobs", "oscar-services")``."""

    version: str  # group and version as in ``apiVersion``
    plural: str  # name in URLs
    namespace: str = ""  # empty for cluster-scoped kinds and for all namespaces

    def path(self, name: str = "", part: str = "") -> str:
        """Return the path of the collection, of an object, or of a subresource such as ``status`` or ``log``."""
        root = "/apis" if "/" in self.version else "/api"
        middle = f"/namespaces/{quote(self.namespace, safe='')}" if self.namespace else ""
        tail = "".join(f"/{quote(each, safe='')}" for each in (name, part) if each)
        return f"{root}/{self.version}{middle}/{self.plural}{tail}"
