# SPDX-License-Identifier: Apache-2.0
"""Thread pools for blocking work, one for each purpose, so that a slow store never delays the ledger or the API.

The threads are daemon threads: a hanging call does not prevent the process from ending.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_IDLE = 30.0  # s after which a thread without work ends
_Call = tuple["Future[Any]", Callable[[], Any]]


class Threads:
    """A pool whose calls are awaited. It starts threads on demand, at most ``size``."""

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0  # threads that wait for a call
        self._queued = 0  # calls that wait for a thread
        self._closed = False

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``call`` in a thread and return its result. If cancelled while running, the call is abandoned."""
        return await asyncio.wrap_future(self.submit(lambda: call(*args, **kwargs)))

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Queue a call. Raises RuntimeError if the pool is closed."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the threads {self._name} are closed")
            self._queued += 1
            self._calls.put((future, call))
            if self._queued > self._idle and self._threads < self.size:
                self._threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """Accept no more calls. Running calls end by themselves."""
        with self._lock:
            self._closed = True
            for _ in range(self._threads):
                self._calls.put(None)

    def _work(self) -> None:
        while item := self._next():
            future, call = item
            if self._closed:
                future.cancel()
            elif future.set_running_or_notify_cancel():
                _answer(future, call)
            del item, future, call

    def _next(self) -> _Call | None:
        """Return the next call, or None if this thread is to end."""
        with self._lock:
            self._idle += 1
        while True:
            try:
                item = self._calls.get(timeout=_IDLE)
            except queue.Empty:
                item = None
            with self._lock:
                if item is None and self._queued and not self._closed:
                    continue  # a call came at the last moment
                self._idle -= 1
                if item is None:
                    self._threads -= 1
                else:
                    self._queued -= 1
                return item


def _answer(future: Future[T], call: Callable[[], T]) -> None:
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
