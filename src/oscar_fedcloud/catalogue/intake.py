# SPDX-License-Identifier: Apache-2.0
"""Where every source hands its events over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.ledger import Ledger


class EventIntake:
    """Records events together with the runs that they ask for. Belongs to the event loop."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger) -> None:
        self.catalogue = catalogue
        self.ledger = ledger

    def record(self, events: Sequence[StorageEvent]) -> asyncio.Future[Any]:
        """Match the events to services and commit them. The future is done when all are on disk.

        It fails with LedgerUnavailable. No task is made for a single event, since nearly all come alone.
        """
        recordings = [self.catalogue.matcher.recording(event) for event in events]
        if len(recordings) == 1:
            return self.ledger.record_nowait(recordings[0])
        return asyncio.gather(*(self.ledger.record_nowait(recording) for recording in recordings))

    async def keep_dead_letter(self, source: str, body: bytes, reason: str) -> None:
        """Keep a body that no event could be made of. Returns when it is on disk. Raises LedgerUnavailable."""
        await self.ledger.record_dead_letter(source, body, reason)
