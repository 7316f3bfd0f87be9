# SPDX-License-Identifier: Apache-2.0
"""An event loop whose time jumps to the next timer as soon as nothing else is left to do.

Work in threads goes on in real time, and time stands still until it has ended. A thread that a test holds on purpose
says so by ``held``, and does not stop the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")
BEGIN = 1_900_000_000.0  # what time.time() says when a loop begins: in the year 2030
_GRACE = 0.002  # real s in which a thread that is not counted may still wake the loop
_BLOCKED = 3.0  # real s after which threads that are counted wait for a place or a lock, not for a processor
_STUCK = 30.0  # real s without anything to do, after which a test has failed
_real_monotonic = time.monotonic


class VirtualLoop(asyncio.SelectorEventLoop):
    """``now`` (s since the loop began) moves by itself; ``skew`` is what the wall clock is off."""

    def __init__(self) -> None:
        self.now = 0.0
        self.skew = 0.0
        self.busy = 0  # threads at work, of which time must wait for the end
        self._lock = threading.Lock()
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Return the virtual time."""
        return self.now

    def wall(self) -> float:
        """Return what ``time.time()`` says."""
        return BEGIN + self.now + self.skew

    def count(self, change: int) -> None:
        """Count a thread that begins (1) or ends (-1) work for which time waits."""
        with self._lock:
            self.busy += change

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run in a thread; time stands still meanwhile."""
        if executor is None:
            executor = self._default_executor = self._default_executor or ThreadPoolExecutor(16, "work")
        self.count(1)
        work = executor.submit(func, *args)
        future = asyncio.wrap_future(work, loop=self)
        work.add_done_callback(lambda _: self.count(-1))
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  asyncio's own
        """Wait for the last threads in real time: since Python 3.12 a runner gives them 300 s of the loop's own."""
        await super().shutdown_default_executor()


class _Selector(selectors.DefaultSelector):
    """Waits in virtual time: real events first, then the clock moves."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready, or move the clock by ``timeout`` if nothing will be."""
        if timeout is not None and timeout <= 0:
            return super().select(0)
        begun = _real_monotonic()
        while True:
            if ready := super().select(_GRACE):
                return ready
            waited = _real_monotonic() - begun
            if timeout is not None and (self._loop.busy <= 0 or waited > _BLOCKED):
                self._loop.now += timeout
                return []
            if waited > _STUCK:
                raise TimeoutError("the virtual loop waits for something that will not come")


@contextlib.contextmanager
def virtual_clock(loop: VirtualLoop) -> Iterator[None]:
    """Let ``time.time()`` and ``time.monotonic()`` follow the loop."""
    with mock.patch("time.time", loop.wall), mock.patch("time.monotonic", loop.time):
        yield


def run_virtually(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a new virtual loop."""
    loop = VirtualLoop()
    try:
        with virtual_clock(loop), asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work(loop))
    finally:
        loop.close()
