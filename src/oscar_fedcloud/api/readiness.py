# SPDX-License-Identifier: Apache-2.0
"""The readiness of the daemon's parts. Anyone may ask, and a look costs requests to stores, so it is shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from oscar_fedcloud.daemon.invoker import Invoker

Parts = Mapping[str, Mapping[str, Any]]


class ReadinessCache:
    """Remembers the last look for ``age`` seconds."""

    def __init__(self, invoker: Invoker, age: float = 2.0) -> None:
        self._invoker = invoker
        self._age = age
        self._looked = 0.0
        self._parts: Parts = {}
        self._look: asyncio.Lock = asyncio.Lock()

    async def parts(self) -> Parts:
        """Each part with ``ok`` and ``detail``."""
        async with self._look:
            if not self._parts or time.monotonic() - self._looked > self._age:
                self._parts = await asyncio.to_thread(self._invoker.readiness)
                self._looked = time.monotonic()
            return self._parts
