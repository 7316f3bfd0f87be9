# SPDX-License-Identifier: Apache-2.0
"""Limits the bytes of request bodies that are held at the same time, in total and for each identity.

Bodies are in memory or on the ledger's disk until they are processed, so their space is reserved before they are read.
A request waits a while for others to end, and is then refused with a retry time.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from oscar_fedcloud.server.problems import ApiError

_AFTER = {"Retry-After": "5"}


class Budget:
    """The limits: ``total`` bytes, and for each identity half of that, or one body of the largest size."""

    def __init__(self, total: int, largest: int, patience: float) -> None:
        self._total = max(total, largest)
        self._share = max(self._total // 2, largest)
        self._patience = patience
        self._held: Counter[str] = Counter()
        self._freed = asyncio.Event()

    @property
    def held(self) -> int:
        """Return the bytes held now."""
        return self._held.total()

    def room(self, identity: str) -> BodyReservation:
        """Return the reservation of one request of this identity."""
        return BodyReservation(self, identity)

    def _refusal(self, identity: str, size: int) -> ApiError | None:
        if self._held[identity] + size > self._share:
            detail = f"your requests hold {self._held[identity]} bytes at the moment, {self._share} are allowed at once"
            return ApiError(429, detail, headers=_AFTER)
        if self.held + size > self._total:
            detail = f"all requests hold {self.held} bytes at the moment, {self._total} are allowed at once"
            return ApiError(503, detail, headers=_AFTER)
        return None

    async def take(self, identity: str, size: int, wait: bool) -> None:
        """Reserve bytes, waiting for them if ``wait``. Raises ApiError 429 or 503."""
        deadline = asyncio.get_running_loop().time() + (self._patience if wait else 0.0)
        while refusal := self._refusal(identity, size):
            self._freed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._freed.wait()
            except TimeoutError:
                raise refusal from None
        self._held[identity] += size

    def give_back(self, identity: str, size: int) -> None:
        """Free bytes."""
        self._held[identity] -= size
        if self._held[identity] <= 0:
            del self._held[identity]
        self._freed.set()


class BodyReservation:
    """The bytes reserved by one request."""

    def __init__(self, budget: Budget, identity: str) -> None:
        self._budget = budget
        self._identity = identity
        self.held = 0

    async def take(self, size: int) -> None:
        """Reserve more bytes. Only a request that holds none yet waits, which prevents deadlocks."""
        if size <= 0:
            return
        await self._budget.take(self._identity, size, wait=self.held == 0)
        self.held += size

    def give_back(self) -> None:
        """Free all bytes."""
        if self.held:
            self._budget.give_back(self._identity, self.held)
            self.held = 0
