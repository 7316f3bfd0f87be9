# SPDX-License-Identifier: Apache-2.0
"""Asks the store which revision of an object is current if the order of events is unreliable.

Revisions are ordered by modification time. A wrong clock or a forged event can put such a time far into the future.
Therefore a run is superseded without a check only by a revision that arrived after it. Otherwise the store decides: the
revision that it holds now is ordered after the wrong one, and all others are superseded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import structlog

from oscar_fedcloud.dispatch.ports import DispatcherPorts, ServiceQueues
from oscar_fedcloud.ledger import Candidate, Ledger
from oscar_fedcloud.runtime.waiting import in_words

log = structlog.get_logger(__name__)

_PARALLEL = 8  # concurrent checks
_PAUSE = 5.0  # s until a check that failed is repeated


class RevisionResolver:
    """Resolves runs for which a newer revision is doubtful. Must be used on the event loop.

    Args:
        queues: woken when a check has completed.
    """

    def __init__(self, ledger: Ledger, ports: DispatcherPorts, queues: ServiceQueues) -> None:
        self.ledger = ledger
        self.ports = ports
        self.queues = queues
        self._open: dict[str, asyncio.Task[None]] = {}  # run -> the check for it
        self._slots = asyncio.Semaphore(_PARALLEL)

    def resolve(self, candidates: Iterable[Candidate]) -> None:
        """Check these runs. Each stays queued until its check has completed."""
        for candidate in candidates:
            name = candidate.run.id
            if name not in self._open:
                self._open[name] = asyncio.create_task(self._ask(candidate), name=f"which revision {name}")

    async def _ask(self, candidate: Candidate) -> None:
        run = candidate.run
        try:
            async with self._slots:
                await self._decide(candidate)
        except Exception as error:
            log.warning("the current revision of an object is not known yet", job=run.id, error=in_words(error))
            await asyncio.sleep(_PAUSE)
        finally:
            del self._open[run.id]
        self.queues.wake([run.service])

    async def _decide(self, candidate: Candidate) -> None:
        run = candidate.run
        if await self.ports.is_current(run.event):
            log.warning("a revision with a wrong time is overruled", key=run.event.key, job=run.id)
            await asyncio.to_thread(self.ledger.reorder, run.id, candidate.newest + 1)
        else:
            await asyncio.to_thread(self.ledger.begin, [], [run.id], time.time())

    async def close(self) -> None:
        """Stop checking."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
