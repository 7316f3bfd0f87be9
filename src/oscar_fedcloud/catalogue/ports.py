# SPDX-License-Identifier: Apache-2.0
"""The interfaces through which the catalogue uses and informs the rest of the daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ReadyListener(Protocol):
    """Is informed when services can start Jobs."""

    def services_ready(self, services: Sequence[str]) -> None:
        """Handle that these services have their buckets, rules, baselines and keys."""


class ChangeListener(Protocol):
    """Is informed when the declared services have changed."""

    def services_changed(self) -> None:
        """Handle that the catalogue holds other services or revisions than before."""


class JobCanceller(Protocol):
    """Cancels Jobs."""

    async def cancel_all(self, service: str) -> None:
        """Cancel all queued and running Jobs of a service."""
