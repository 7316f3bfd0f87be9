# SPDX-License-Identifier: Apache-2.0
"""Provide rclone in Pods: as an image volume if the cluster supports it, else copied by an init container.

``auto`` determines this once by a Job that executes rclone from an image volume; a ConfigMap stores the answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.kube import KubeClient, KubeError, ResourceType
from oscar_fedcloud.launchers.kubernetes.objects import PREFIX, Job, condition
from oscar_fedcloud.launchers.kubernetes.template import TOOLS, Tools, security

log = structlog.get_logger(__name__)

_LABELS = {f"{PREFIX}/part": "tools-probe"}
_PATIENCE = 120.0  # s for the probe; without an answer rclone is copied, which works everywhere
_LOOK = 1.0  # s


class ToolsProbe:
    """Determines the mode once per process of the invoker."""

    def __init__(self, client: KubeClient, config: KubernetesConfig, patience: float = _PATIENCE) -> None:
        self.client = client
        self.config = config
        self.patience = patience
        self.name = f"oscar-tools-{digest(config.tools_image, config.tools_rclone)[:10]}"
        self.jobs = ResourceType("batch/v1", "jobs", config.namespace)
        self.memory = ResourceType("v1", "configmaps", config.namespace)
        self._answer: asyncio.Task[Tools] | None = None

    async def mode(self) -> Tools:
        """Return how rclone is provided in Pods. Raises KubeError, KubeConfigError."""
        if self.config.tools != "auto":
            return self.config.tools
        if self._answer is None or (self._answer.done() and (self._answer.cancelled() or self._answer.exception())):
            self._answer = asyncio.create_task(self._find_out(), name="tools probe")
        return await asyncio.shield(self._answer)

    async def close(self) -> None:
        """Stop probing."""
        if self._answer is not None:
            self._answer.cancel()
            await asyncio.gather(self._answer, return_exceptions=True)

    async def _find_out(self) -> Tools:
        if known := await self._remembered():
            return known
        works = await self._probe()
        tools: Tools = "image" if works else "copy"
        log.info("how rclone gets into pods", tools=tools, probe="no answer" if works is None else works)
        if works is not None:
            await self._remember(tools)
        return tools

    async def _remembered(self) -> Tools | None:
        found = await self.client.list_objects(self.memory, fields=f"metadata.name={self.name}")
        tools = found[0].get("data", {}).get("tools") if found else None
        return tools if tools in ("image", "copy") else None

    async def _remember(self, tools: Tools) -> None:
        metadata = {"name": self.name, "labels": _LABELS}
        data = {"image": self.config.tools_image, "tools": tools}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        try:
            await self.client.create(self.memory, body)
        except KubeError as error:
            if error.status != 409:
                raise

    async def _probe(self) -> bool | None:
        """Return whether a Pod can execute rclone from an image volume, or None if no Pod ran in time."""
        try:
            await self.client.create(self.jobs, self._body())
        except KubeError as error:
            if error.status == 422:  # a server that does not know image volumes
                return False
            if error.status != 409:  # the probe of a former process
                raise
        try:
            async with asyncio.timeout(self.patience):
                return await self._end_of_probe()
        except TimeoutError:
            return None
        finally:
            await self.client.delete(self.jobs, self.name, {"propagationPolicy": "Background"})

    async def _end_of_probe(self) -> bool:
        while True:
            answer = await self.client.send("GET", self.jobs.path(self.name))
            conditions = msgspec.json.decode(answer, type=Job).status.conditions
            if condition(conditions, "Complete"):
                return True
            if condition(conditions, "Failed"):
                return False
            await asyncio.sleep(_LOOK)

    def _body(self) -> dict[str, Any]:
        pod, container = security("restricted", 0, 0, self.config.run_as_user)
        image = {"reference": self.config.tools_image, "pullPolicy": "IfNotPresent"}
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "activeDeadlineSeconds": round(self.patience),
            "securityContext": pod,
            "volumes": [{"name": "tools", "image": image}],
            "containers": [
                {
                    "name": "probe",
                    "image": self.config.tools_image,
                    "command": [self.config.rclone, "version"],
                    "securityContext": container,
                    "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
                    "volumeMounts": [{"name": "tools", "mountPath": TOOLS, "readOnly": True}],
                }
            ],
        }
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self.name, "labels": _LABELS},
            "spec": {
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": self.config.job_ttl,
                "template": {"metadata": {"labels": _LABELS}, "spec": spec},
            },
        }
