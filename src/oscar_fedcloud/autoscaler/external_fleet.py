# SPDX-License-Identifier: Apache-2.0
"""Machines that Cluster Autoscaler requests and removes, with the same actions and checks as internal decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, CloudUnavailable, NoRoom
from oscar_fedcloud.autoscaler.controller import Controller
from oscar_fedcloud.autoscaler.machines import removal
from oscar_fedcloud.autoscaler.model import Launch, MachineView, Pool
from oscar_fedcloud.autoscaler.planning.pool_health import backoff_until

_REASON = "Cluster Autoscaler asked for it"


class ControllerFleet:
    """Implements ``external.fleet.Fleet`` with a controller that makes no decisions itself."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.context = controller.context
        self.cluster = controller.context.cluster.name

    def pools(self) -> Sequence[Pool]:
        """Return the pools."""
        return tuple(self.controller.pools().values())

    def machines(self) -> Mapping[str, MachineView]:
        """Return the machines by name."""
        return self.context.machines.views()

    async def launch(self, pool: str, count: int) -> None:
        """Count machines from now on and request them in the background. Raises CloudError."""
        self._check_lead()
        health = self.context.health.get(pool)
        if backoff_until(health, self.context.clock()):
            raise NoRoom(health.reason)
        if not self.controller.executor.launch(Launch(pool, count, _REASON)):
            raise CloudError(f"there is no pool {pool!r}")

    async def remove(self, machines: Collection[str]) -> None:
        """Remove machines in the background, except those whose nodes run work. Raises CloudError."""
        self._check_lead()
        known = self.context.machines.views()
        if strange := [name for name in machines if name not in known]:
            raise CloudError(f"{', '.join(strange)}: no such machine")
        joined = [name for name in machines if known[name].phase in ("joined", "draining")]
        self.controller.executor.start(joined, self._remove(joined), f"remove {len(joined)}")
        for name in machines:
            if name not in joined:
                work = removal.give_up(self.context, name, _REASON, blames_pool=False)
                self.controller.executor.start([name], work, f"give up {name}")

    async def _remove(self, machines: Sequence[str]) -> None:
        """Cordon and remove nodes that Cluster Autoscaler has drained and tainted."""
        for name in machines:
            await removal.cordon(self.context, name, _REASON)
        await removal.remove(self.context, machines, _REASON)

    def _check_lead(self) -> None:
        if not self.controller.leads:
            raise CloudUnavailable("this autoscaler does not lead, or does not know its machines yet")
