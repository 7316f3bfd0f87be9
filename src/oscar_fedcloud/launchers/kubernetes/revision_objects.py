# SPDX-License-Identifier: Apache-2.0
"""ConfigMap and Secret of each service revision: created before its first Job, removed when no Job needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

import structlog

from oscar_fedcloud.kube import KubeClient, KubeError, ResourceType
from oscar_fedcloud.launchers.kubernetes.objects import Metadata, Named
from oscar_fedcloud.launchers.kubernetes.template import (
    DOCUMENT_LABEL,
    REVISION_LABEL,
    SELECTOR,
    SERVICE_LABEL,
    Template,
)

log = structlog.get_logger(__name__)

_UNUSED = 3600.0  # s that a revision is kept after its last use, for Jobs being created


class RevisionObjects:
    """Caches which objects exist in the cluster, so that most Jobs need no request for them."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.client = client
        self.resources = (ResourceType("v1", "configmaps", namespace), ResourceType("v1", "secrets", namespace))
        self._used: dict[str, float] = {}  # existing revision -> when a Job last used it
        self._latest: dict[str, str] = {}  # service -> the revision of its latest Job
        self._writing = asyncio.Lock()

    async def ensure(self, template: Template) -> None:
        """Create the revision's objects unless they exist. Raises KubeError."""
        self._latest[template.service.name] = template.name
        if template.name not in self._used:
            async with self._writing:
                await self._make(template)
        self._used[template.name] = time.monotonic()

    async def _make(self, template: Template) -> None:
        if template.name in self._used:  # another Job of a burst came first
            return
        for resource, body in zip(self.resources, (template.config, template.secret), strict=True):
            await self._create(resource, body)
        self._used[template.name] = time.monotonic()

    async def _create(self, resource: ResourceType, body: Mapping[str, object]) -> None:
        try:
            await self.client.create(resource, body)
        except KubeError as error:
            if error.status != 409:  # named by content hash, so the existing object is equal
                raise

    def forget(self, name: str) -> None:
        """Create the revision again on its next use, because it may have been removed."""
        self._used.pop(name, None)

    async def collect(self, current: Mapping[str, str], needed: Callable[[], Collection[str]]) -> None:
        """Remove revisions that are not current and that no Job needs. Raises KubeError."""
        async with self._writing:
            for resource in self.resources:
                found, _ = await self.client.list_versioned(resource, Named, f"{SELECTOR},{REVISION_LABEL}")
                jobs = needed()
                for each in found:
                    if not self._stays(each.metadata, current, jobs):
                        self._used.pop(each.metadata.name, None)
                        await self.client.delete(resource, each.metadata.name)
                        log.info("revision removed", what=resource.plural, name=each.metadata.name)

    def _stays(self, found: Metadata, current: Mapping[str, str], jobs: Collection[str]) -> bool:
        name, service = found.name, found.labels.get(SERVICE_LABEL, "")
        age = (datetime.now(UTC) - found.creation_timestamp).total_seconds() if found.creation_timestamp else 0.0
        if name in jobs or min(age, time.monotonic() - self._used.get(name, float("-inf"))) < _UNUSED:
            return True
        if service not in current:
            return False
        latest = self._latest.get(service)
        return name == latest if latest else found.labels.get(DOCUMENT_LABEL) == current[service]
