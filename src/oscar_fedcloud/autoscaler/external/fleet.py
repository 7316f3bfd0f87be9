# SPDX-License-Identifier: Apache-2.0
"""The interface between the gRPC server and the machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from oscar_fedcloud.autoscaler.model import MachineView, Pool


class Fleet(Protocol):
    """Pools, and the machines in them.

    All calls come from one event loop and must return within about two seconds, because Cluster Autoscaler waits five.
    Longer work continues in the background.
    """

    cluster: str

    def pools(self) -> Sequence[Pool]:
        """Return the pools, from memory."""

    def machines(self) -> Mapping[str, MachineView]:
        """Return the machines by name, from memory, including those that ``launch`` has just requested."""

    async def launch(self, pool: str, count: int) -> None:
        """Record machines and request them. Raises CloudError while the pool is closed after a failure."""

    async def remove(self, machines: Collection[str]) -> None:
        """Delete machines whose nodes Cluster Autoscaler has drained. Raises CloudError.

        Nodes on which a Job still runs are kept, as in all removals.
        """
