# SPDX-License-Identifier: Apache-2.0
"""Asks the store which revision of an object is the current one, where the order of the events cannot be relied on.

The order of revisions is that of modification times, which a clock that was wrong for a while, or a forged event, can
put far into the future. So a run is superseded without a question only by a revision that came after it. Otherwise the
store decides: a revision that it has now takes its place behind the wrong one, and every other one is superseded.
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

_AT_ONCE = 8  # questions
_PAUSE = 5.0  # s until a question that had no answer is asked again


class Doubts:
    """Belongs to the event loop. queues: woken when a question has its answer."""

    def __init__(self, ledger: Ledger, ports: DispatcherPorts, queues: ServiceQueues) -> None:
        self.ledger = ledger
        self.ports = ports
        self.queues = queues
        self._open: dict[str, asyncio.Task[None]] = {}  # run -> the question about it
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def settle(self, candidates: Iterable[Candidate]) -> None:
        """Ask about these runs; each stays queued until there is an answer."""
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
            log.warning("which revision is current is not known yet", job=run.id, error=in_words(error))
            await asyncio.sleep(_PAUSE)
        finally:
            del self._open[run.id]
        self.queues.wake([run.service])

    async def _decide(self, candidate: Candidate) -> None:
        run = candidate.run
        if await self.ports.is_current(run.event):
            log.warning("a revision with a wrong time gives way", key=run.event.key, job=run.id)
            await asyncio.to_thread(self.ledger.reorder, run.id, candidate.newest + 1)
        else:
            await asyncio.to_thread(self.ledger.begin, [], [run.id], time.time())

    async def close(self) -> None:
        """Ask nothing more."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
