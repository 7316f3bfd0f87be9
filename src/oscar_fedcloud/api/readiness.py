# SPDX-License-Identifier: Apache-2.0
"""The readiness of the daemon's parts, cached, since anyone may ask and each check sends requests to stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from oscar_fedcloud.daemon.invoker import Invoker

Parts = Mapping[str, Mapping[str, Any]]


class ReadinessCache:
    """Caches the last result for ``age`` seconds."""

    def __init__(self, invoker: Invoker, age: float = 2.0) -> None:
        self._invoker = invoker
        self._age = age
        self._read_at = 0.0
        self._parts: Parts = {}
        self._lock: asyncio.Lock = asyncio.Lock()

    async def parts(self) -> Parts:
        """Return each part with ``ok`` and ``detail``."""
        async with self._lock:
            if not self._parts or time.monotonic() - self._read_at > self._age:
                self._parts = await asyncio.to_thread(self._invoker.readiness)
                self._read_at = time.monotonic()
            return self._parts
