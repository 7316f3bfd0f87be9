# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon is the one that acts, where several of its kind may run."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Leader(Protocol):
    """A daemon's part in the election of the one that acts."""

    @property
    def leads(self) -> bool:
        """Return whether this daemon may act now."""

    async def run(self) -> None:
        """Take part until cancelled. A failure costs the lead."""

    async def release(self) -> None:
        """Give the lead back, so that another one need not wait."""


class AlwaysLeader:
    """Leads without an election: where only one can run, or where nothing is changed."""

    leads = True

    async def run(self) -> None:
        """Wait until cancelled."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Do nothing: no other one waits."""
