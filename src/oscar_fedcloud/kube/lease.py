# SPDX-License-Identifier: Apache-2.0
"""Leader election by a Lease of ``coordination.k8s.io``: of several processes one acts.

As in client-go, times of another machine are never compared with ours: a lease has run out when it has not changed for
its duration as we have seen it. The holder stops acting well before others may take over.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from oscar_fedcloud.kube.client import KubeClient
from oscar_fedcloud.kube.errors import KubeError
from oscar_fedcloud.kube.resource import ResourceType
from oscar_fedcloud.runtime.waiting import is_cancelled

log = structlog.get_logger(__name__)

_MOST_TRANSITIONS = 2**31 - 1  # what the API takes; a lease may be edited by hand


class Lease:
    """Our share in the election.

    identity: the same after a restart on the same machine, so that a restart need not wait for the lease to run out;
    two processes of one identity must be kept apart by a lock file. duration: seconds. clock: monotonic seconds.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        duration: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.name = name
        self.identity = identity
        self.duration = duration
        self.clock = clock
        self._resource = ResourceType("coordination.k8s.io/v1", "leases", namespace)
        self._renewed = -math.inf  # when our last renewal was sent that succeeded
        self._seen: tuple[str, float] = ("", 0.0)  # version of another's lease, and since when we have seen it
        self._led = False

    @property
    def leads(self) -> bool:
        """Whether we may act now."""
        return self.clock() - self._renewed < self.duration * 2 / 3

    async def run(self) -> None:
        """Take part until cancelled. An unexpected failure costs the lead: it must be taken again by a new attempt."""
        try:
            while True:
                await self.attempt()
                await asyncio.sleep(self.duration / 5)
        except BaseException as error:
            if not is_cancelled(error):
                self._renewed = -math.inf
                self._note_lead()
            raise

    async def attempt(self) -> None:
        """Take or renew the lease if we may."""
        sent = self.clock()
        try:
            async with asyncio.timeout(self.duration / 3):
                if await self._take():
                    self._renewed = sent
        except (KubeError, TimeoutError) as error:
            log.warning("lease not renewed", error=str(error) or "no answer in time")
        self._note_lead()

    def _note_lead(self) -> None:
        if self.leads != self._led:
            self._led = self.leads
            log.info("leading" if self._led else "not leading", identity=self.identity)

    async def _take(self) -> bool:
        try:
            found = await self.client.get(self._resource, self.name)
        except KubeError as error:
            if error.status != 404:
                raise
            return await self._write(None)
        return await self._write(found) if self._may_take(found) else False

    def _may_take(self, found: dict[str, Any]) -> bool:
        spec, version = found.get("spec") or {}, found["metadata"]["resourceVersion"]
        if spec.get("holderIdentity") in (None, "", self.identity):
            return True
        if self._seen[0] != version:
            self._seen = (version, self.clock())
        return self.clock() - self._seen[1] >= float(spec.get("leaseDurationSeconds", self.duration))

    async def _write(self, found: dict[str, Any] | None) -> bool:
        """Write ourselves as the holder over what was found; False when someone else was faster."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        former = (found or {}).get("spec") or {}
        mine = former.get("holderIdentity") == self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self.duration)),
            "acquireTime": former["acquireTime"] if mine and "acquireTime" in former else now,
            "renewTime": now,
            "leaseTransitions": min((former.get("leaseTransitions") or 0) + (0 if mine else 1), _MOST_TRANSITIONS),
        }
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}, "spec": spec}
        try:
            if found is None:
                await self.client.create(self._resource, body)
            else:
                body["metadata"] = {"name": self.name, "resourceVersion": found["metadata"]["resourceVersion"]}
                await self.client.replace(self._resource, self.name, body)
        except KubeError as error:
            if error.status != 409:
                raise
            return False
        return True

    async def release(self) -> None:
        """Give the lease back, so that another need not wait. Errors do not matter: it runs out by itself."""
        if not self.leads:
            return
        self._renewed = -math.inf
        try:
            found = await self.client.get(self._resource, self.name)
            spec = found.get("spec") or {}
            if spec.get("holderIdentity") == self.identity:
                found["spec"] = spec | {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self.client.replace(self._resource, self.name, found)
        except KubeError as error:
            log.warning("lease not given back", error=error.message)
