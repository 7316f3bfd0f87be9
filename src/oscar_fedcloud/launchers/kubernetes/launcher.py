# SPDX-License-Identifier: Apache-2.0
"""The launcher: each attempt is a Job, created by one request, whose end a watch reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.events import event_id
from oscar_fedcloud.domain.runs import Completion, OutputPlace
from oscar_fedcloud.kube import KubeClient, KubeError, KubeUnavailable
from oscar_fedcloud.launchers.kubernetes import job_results
from oscar_fedcloud.launchers.kubernetes.rclone_delivery import ToolsProbe
from oscar_fedcloud.launchers.kubernetes.revision_objects import RevisionObjects
from oscar_fedcloud.launchers.kubernetes.run_records import Records
from oscar_fedcloud.launchers.kubernetes.template import (
    EVENT_LABEL,
    REVISION_LABEL,
    Template,
    Tools,
    job_body,
    make_template,
)
from oscar_fedcloud.launchers.kubernetes.watcher import Watcher
from oscar_fedcloud.launchers.port import JobSpec, LaunchError, LogPart

log = structlog.get_logger(__name__)

_SYNC = 10.0  # s that the daemon's start waits for the cluster
_PAUSE, _PAUSE_MAX = 0.1, 5.0  # s between attempts to create a Job while the API server does not answer


class KubernetesLauncher:
    """Starts Jobs in one namespace of a cluster."""

    def __init__(self, config: KubernetesConfig, records: Records, client: KubeClient | None = None) -> None:
        self.config = config
        self.client = client or KubeClient(config.kubeconfig, config.context)
        self.watcher = Watcher(self.client, config, records)
        self.revisions = RevisionObjects(self.client, config.namespace)
        self.tools = ToolsProbe(self.client, config)
        self._templates: dict[tuple[str, str], tuple[JobSpec, Template]] = {}  # by service and store of the input

    # -- starting --------------------------------------------------------------------------------------------------

    async def start(self, spec: JobSpec) -> None:
        """Create the Job, or adopt it if it already exists. Raises LaunchError if it cannot be created.

        The same request is sent again while the API server does not answer or the outcome is unknown.
        """
        self.watcher.begin()
        self.watcher.picture.expect(spec.job, spec.outputs)
        try:
            await self._make(spec)
        except LaunchError:
            self.watcher.picture.forget(spec.job)
            raise
        self.watcher.made(spec.job)

    async def _make(self, spec: JobSpec) -> None:
        pause = _PAUSE
        while True:
            try:
                template = self._template(spec, await self.tools.mode())
                await self.revisions.ensure(template)
                await self.client.send("POST", self.watcher.job_kind.path(), job_body(spec, template, self.config))
                return
            except KubeError as error:
                if error.reason == "AlreadyExists":
                    if await self._is_own(spec):
                        return
                elif not isinstance(error, KubeUnavailable) and error.status not in (401, 409):
                    raise LaunchError(f"job {spec.job} could not be made in the cluster: {error}") from error
                log.warning("a job is not made yet, it will be tried again", job=spec.job, error=str(error))
            await asyncio.sleep(pause)
            pause = min(_PAUSE_MAX, pause * 2)

    def _template(self, spec: JobSpec, tools: Tools) -> Template:
        """Return the cached template of the service's Jobs. It is created again when the service or its keys change."""
        key = (spec.service.name, spec.run.event.provider)
        known = self._templates.get(key)
        if known is not None and known[0].service is spec.service and known[0].secrets == spec.secrets:
            return known[1]
        template = make_template(spec, self.config, tools)
        self._templates[key] = spec, template
        return template

    async def _is_own(self, spec: JobSpec) -> bool:
        """Return whether the Job of that name is this attempt; False if it is gone. Raises KubeError, LaunchError."""
        try:
            found = await self.client.get(self.watcher.job_kind, spec.job)
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        if found["metadata"].get("labels", {}).get(EVENT_LABEL) != event_id(spec.run.event):
            raise LaunchError(f"a job {spec.job} of another event is in the cluster")
        return True

    async def adopt(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> set[str]:
        """Adopt Jobs of a former process. Returns those that exist, running or ended. Their completions follow.

        While the cluster does not answer, all of them are assumed to exist. One that does not is reported lost later.
        """
        await self.client.open()
        self.watcher.begin()
        try:
            async with asyncio.timeout(_SYNC):
                await self.watcher.synced.wait()
        except TimeoutError:
            log.warning("the cluster does not answer, the daemon starts without its picture", **self.watcher.trouble)
        return await self.watcher.find(jobs)

    # -- ending ----------------------------------------------------------------------------------------------------

    async def cancel(self, job: str) -> None:
        """Cancel the Job. Its Completion (CANCELLED) follows. Unknown names are ignored."""
        self.watcher.end(job, job_results.cancelled(job))

    def completions(self) -> AsyncIterator[Completion]:
        """Yield each ended Job, once per process of the invoker, until ``acknowledge``."""
        return self.watcher.completions()

    async def acknowledge(self, job: str) -> None:
        """Forget the Job. The cluster itself deletes it after ``job_ttl`` seconds."""
        self.watcher.picture.forget(job)

    async def collect(self, current: Mapping[str, str]) -> None:
        """Remove ConfigMaps and Secrets of revisions that are neither in ``current`` nor needed by a Job."""
        if not self.watcher.synced.is_set():
            return
        try:
            await self.revisions.collect(current, self._needed)
        except KubeError as error:
            log.warning("old revisions were not removed, it will be tried again", error=str(error))

    def _needed(self) -> set[str]:
        return {job.metadata.labels.get(REVISION_LABEL, "") for job in self.watcher.picture.jobs.values()}

    def log(self, job: str, offset: int = 0) -> LogPart | None:
        """Return the log of a running Job from an offset in bytes, read from its node. Called from threads.

        A node sends a log from its beginning only. A log shorter than the offset was restarted there.
        """
        pod = self.watcher.picture.pods.get(job)
        if pod is None or pod.ended or pod.status.phase == "Pending":
            return None
        try:
            content = self.client.wait(self.watcher.read_log(pod))
        except KubeError:
            return None
        return LogPart(iter([content[offset if offset <= len(content) else 0 :]]), len(content))

    def waiting(self, job: str) -> tuple[str, str] | None:
        """Return why a started Job does not run yet, as (code, detail), or None. From the watch, without a request."""
        return self.watcher.picture.waiting(job)

    def progress(self, job: str) -> str:
        """Return what a running Job waits for, or "". The answer may be some seconds old."""
        return self.watcher.progress(job)

    def health(self) -> dict[str, Any]:
        """Return whether the cluster is watched: ``{"ok": bool, "detail": str}``."""
        found = [f"{what}: {why}" for what, why in self.watcher.trouble.items() if why]
        detail = "; ".join([*found, *filter(None, [self.watcher.tasks.troubles.detail()])])
        if not detail and not self.watcher.synced.is_set():
            detail = "the cluster has not answered yet"
        return {"ok": not detail, "detail": detail}

    async def close(self) -> None:
        """Stop watching. Jobs continue."""
        await self.tools.close()
        await self.watcher.close()
        await self.client.close()
