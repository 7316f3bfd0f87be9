# SPDX-License-Identifier: Apache-2.0
"""The health of pools, stored in a readable ConfigMap so that failures survive a restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
import structlog

from oscar_fedcloud.autoscaler.model import PoolHealth
from oscar_fedcloud.autoscaler.names import MANAGER
from oscar_fedcloud.autoscaler.planning import pool_health as health
from oscar_fedcloud.kube import KubeClient, KubeError, ResourceType

log = structlog.get_logger(__name__)

_KEY = "pools"


class PoolHealthStore:
    """The health of each pool. Changes apply in memory immediately and are written by ``save``."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.client = client
        self._resource = ResourceType("v1", "configmaps", namespace)
        self._pools: dict[str, PoolHealth] = {}
        self._saved: dict[str, PoolHealth] | None = None

    def views(self) -> Mapping[str, PoolHealth]:
        """Return a copy of the health by pool name."""
        return dict(self._pools)

    def get(self, pool: str) -> PoolHealth:
        """Return the health of a pool."""
        return self._pools.get(pool, PoolHealth())

    def failed(self, pool: str, now: float, reason: str) -> None:
        """Record a failed launch: the pool backs off, longer after each failure."""
        self._pools[pool] = health.failed(self.get(pool), now, reason)
        log.warning("pool backs off", pool=pool, until=self.get(pool).closed_until, reason=reason)

    def succeeded(self, pool: str) -> None:
        """Record that a machine of the pool joined."""
        self._pools[pool] = health.succeeded(self.get(pool))

    def set_headroom(self, pool: str, machines: int | None, reason: str = "") -> None:
        """Set how many machines the cloud's quota allows."""
        self._pools[pool] = health.with_headroom(self.get(pool), machines, reason)

    def consume_headroom(self, pools: Iterable[str], count: int) -> None:
        """Subtract requested machines from the headroom of these pools."""
        for pool in pools:
            if (headroom := self.get(pool).headroom) is not None:
                self._pools[pool] = health.with_headroom(self.get(pool), max(0, headroom - count))

    async def load(self) -> None:
        """Read the saved health. Raises KubeError."""
        try:
            found = await self.client.get(self._resource, MANAGER)
        except KubeError as error:
            if error.status != 404:
                raise
            return
        try:
            text = (found.get("data") or {}).get(_KEY, "{}")
            self._pools = msgspec.json.decode(text, type=dict[str, PoolHealth])
        except (ValueError, RecursionError) as error:
            log.warning("saved health of pools cannot be read, all pools count as healthy", error=str(error))
        self._saved = self._persistent()

    async def save(self) -> None:
        """Write changes, if any. Raises KubeError."""
        wanted = self._persistent()
        if wanted == (self._saved or {}):
            return
        text = msgspec.json.format(msgspec.json.encode(wanted), indent=2).decode()
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MANAGER}, "data": {_KEY: text}}
        try:
            await self.client.patch(self._resource, MANAGER, body)
        except KubeError as error:
            if error.status != 404:
                raise
            await self.client.create(self._resource, body)
        self._saved = wanted

    def _persistent(self) -> dict[str, PoolHealth]:
        """Return what is saved: failures. The headroom is requested again after a restart."""
        return {name: replace(each, headroom=None) for name, each in sorted(self._pools.items()) if each.failures}
