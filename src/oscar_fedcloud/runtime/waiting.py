# SPDX-License-Identifier: Apache-2.0
"""Cancellable waiting, and the work that currently fails.

``asyncio.wait_for`` of Python 3.11 swallows a cancellation that arrives together with the result, so that a task never
ends. The linter forbids it in this package: use ``wait`` or ``asyncio.timeout``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until the event is set, at most this long (None: without limit). Return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


def is_cancelled(error: BaseException) -> bool:
    """Return whether this task itself was cancelled, rather than something that it waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def doubled(pause: float, longest: float) -> float:
    """Return the pause before the next attempt."""
    return min(2 * pause, longest)


def in_words(error: BaseException) -> str:
    """Describe an error in one line, starting with its type."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def moment(when: float) -> str:
    """Format a time of day, e.g. ``12:30:05 UTC``."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(when))


@dataclass(frozen=True, slots=True)
class Trouble:
    """Work that failed unexpectedly and is retried at ``next_try`` (s since the epoch)."""

    error: str
    next_try: float


class Troubles:
    """Work that currently fails unexpectedly, by name. May be read from any thread."""

    def __init__(self) -> None:
        self.total = 0  # failures since start
        self._open: dict[str, Trouble] = {}

    def note(self, what: str, error: BaseException | str, pause: float) -> None:
        """Record that this work failed and is retried after a pause (s)."""
        self.total += 1
        words = error if isinstance(error, str) else in_words(error)
        self._open[what] = Trouble(words, time.time() + pause)

    def clear(self, what: str) -> None:
        """Record that this work is done or works again."""
        self._open.pop(what, None)

    def __contains__(self, what: str) -> bool:
        return what in self._open

    def __len__(self) -> int:
        return len(self._open)

    def detail(self) -> str:
        """Return each failing piece of work with its error and next attempt, or ""."""
        return "; ".join(f"{what}: {one.error} (next try {moment(one.next_try)})" for what, one in self.first(5))

    def first(self, limit: int) -> list[tuple[str, Trouble]]:
        """Return the oldest failures, at most ``limit``."""
        return list(self._open.copy().items())[:limit]
