# SPDX-License-Identifier: Apache-2.0
"""Wait for conditions: a fixed time is too short on a busy machine and too long on a free one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


def eventually(probe: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Call ``probe`` until it returns something true, and return that.

    The longer it takes, the more seldom it is called. timeout: seconds after which the test fails.
    """
    deadline, pause = time.monotonic() + timeout, 0.02
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s")
        time.sleep(pause)
        pause = min(0.2, pause * 1.2)


async def eventually_here(condition: Callable[[], Any]) -> Any:
    """Do the same for a condition that tasks of this event loop bring about, and let them work meanwhile."""
    deadline = time.monotonic() + 30.0
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError("not within 30 s")
        await asyncio.sleep(0.01)
    return found
