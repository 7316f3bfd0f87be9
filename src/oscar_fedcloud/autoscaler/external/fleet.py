# SPDX-License-Identifier: Apache-2.0
"""What the server needs of whoever looks after the machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from oscar_fedcloud.autoscaler.model import MachineView, Pool


class Fleet(Protocol):
    """Pools, and the machines in them. All calls come from one event loop and must be done within about two seconds,
    since Cluster Autoscaler waits five; what takes longer goes on in the background.
    """

    cluster: str

    def pools(self) -> Sequence[Pool]:
        """The pools, from memory."""

    def machines(self) -> Mapping[str, MachineView]:
        """The machines by name, from memory; one that was launched is there as soon as ``launch`` has returned."""

    async def launch(self, pool: str, count: int) -> None:
        """Write machines down and have them asked for. Raises CloudError while the pool is closed after a failure."""

    async def remove(self, machines: Collection[str]) -> None:
        """Have machines deleted, whose nodes Cluster Autoscaler has drained. Raises CloudError.

        Like all our removals it leaves out nodes on which a Job still runs.
        """
