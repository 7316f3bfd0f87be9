# SPDX-License-Identifier: Apache-2.0
"""The common entry point for the events of all sources."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.ledger import Ledger


class EventIntake:
    """Records events together with the runs that they request. Must be used on the event loop."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger) -> None:
        self.catalogue = catalogue
        self.ledger = ledger

    def record(self, events: Sequence[StorageEvent]) -> asyncio.Future[Any]:
        """Match the events to services and commit them. The future completes when all are on disk.

        It fails with LedgerUnavailable. No task is created for a single event, since nearly all events arrive alone.
        """
        recordings = [self.catalogue.matcher.recording(event) for event in events]
        if len(recordings) == 1:
            return self.ledger.record_nowait(recordings[0])
        return asyncio.gather(*(self.ledger.record_nowait(recording) for recording in recordings))

    async def keep_dead_letter(self, source: str, body: bytes, reason: str) -> None:
        """Store a body that holds no valid event. Return when it is on disk. Raises LedgerUnavailable."""
        await self.ledger.record_dead_letter(source, body, reason)
