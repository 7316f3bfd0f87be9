# SPDX-License-Identifier: Apache-2.0
"""What the catalogue asks of the rest of the daemon, and whom it informs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ReadyListener(Protocol):
    """Is informed when services may start Jobs."""

    def services_ready(self, services: Sequence[str]) -> None:
        """These services have their buckets, rules, baselines and keys."""


class ChangeListener(Protocol):
    """Is informed when the declared services have changed."""

    def services_changed(self) -> None:
        """The catalogue holds other services, or other revisions of them, than before."""


class JobCanceller(Protocol):
    """Ends Jobs."""

    async def cancel_all(self, service: str) -> None:
        """End all that a service has queued and running."""
