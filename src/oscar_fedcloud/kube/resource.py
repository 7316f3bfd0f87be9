# SPDX-License-Identifier: Apache-2.0
"""Where the objects of one kind lie in the API."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class ResourceType:
    """The objects of one kind, e.g. ``Resource("batch/v1", "jobs", "oscar-services")``; namespace "" = of the cluster.

    version: group and version as in ``apiVersion``. plural: the kind's name in URLs.
    """

    version: str
    plural: str
    namespace: str = ""

    def path(self, name: str = "", part: str = "") -> str:
        """The path of the collection, of one object, or of a part of it such as ``status`` or ``log``."""
        root = "/apis" if "/" in self.version else "/api"
        middle = f"/namespaces/{quote(self.namespace, safe='')}" if self.namespace else ""
        tail = "".join(f"/{quote(each, safe='')}" for each in (name, part) if each)
        return f"{root}/{self.version}{middle}/{self.plural}{tail}"
