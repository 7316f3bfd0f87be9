# SPDX-License-Identifier: Apache-2.0
"""Supervised tasks: each is restarted after a pause if it ends unexpectedly. The process continues.

A failed task is reported in the readiness until it has worked for a while. Only failures at start end the process: the
configuration, the lock on the data folder, the port, the ledger, the catalogue. A blocked event loop is left to the
service manager's watchdog.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import Troubles, doubled, in_words, is_cancelled

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # s before a task is restarted; doubled after each failure
STEADY = 30.0  # s of work after which a task counts as healthy and its pause is reset
PATIENCE = 10.0  # s that tasks get to end
_AGAIN = 1.0  # s between cancellations of a task that does not end

Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """The long-lived tasks of a daemon, by name. All methods but ``health`` and ``restarts`` belong to the event loop.

    troubles: failures of single pieces of work, shared by tasks. Failures of tasks are noted there as well.
    """

    def __init__(self, troubles: Troubles | None = None) -> None:
        self.troubles = Troubles() if troubles is None else troubles
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._restarts: Counter[str] = Counter()

    def start(self, name: str, work: Work) -> None:
        """Start a task. ``work`` creates its coroutine, which runs until it is cancelled."""
        if name in self._tasks:
            raise ValueError(f"task {name} runs already")
        self._restarts[name] = 0
        self._tasks[name] = asyncio.create_task(self._supervise(name, work), name=name)

    async def _supervise(self, name: str, work: Work) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            begun = loop.time()
            healthy = loop.call_later(STEADY, self.troubles.clear, f"task {name}")
            try:
                error = await _failure(work)
            finally:
                healthy.cancel()
            pause = FIRST_PAUSE if loop.time() - begun >= STEADY else pause
            self._restarts[name] += 1
            self.troubles.note(f"task {name}", error, pause)
            report(log, "a task failed and is begun again", error, task=name, pause=pause)
            await asyncio.sleep(pause)
            pause = doubled(pause, LONGEST_PAUSE)

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    async def end(self, name: str) -> None:
        """End a task if it runs."""
        if task := self._tasks.pop(name, None):
            await _cancel([task], PATIENCE)
        self.troubles.clear(f"task {name}")
        del self._restarts[name]

    async def close(self, patience: float = PATIENCE) -> None:
        """End all tasks. One that does not end is logged and abandoned."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await _cancel(tasks, patience)

    def restarts(self) -> Mapping[str, int]:
        """Return how often each task was restarted."""
        return dict(self._restarts)

    def health(self) -> dict[str, Any]:
        """Return whether all tasks run and none of their work fails."""
        if not self._tasks:
            return {"ok": False, "detail": "no task runs"}
        return {"ok": not self.troubles, "detail": self.troubles.detail()}


async def _failure(work: Work) -> BaseException:
    """Run the work; return why it ended, unless this task itself was cancelled."""
    try:
        await work()
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled(error):
            raise
        return error
    return RuntimeError("it ended by itself")


async def _cancel(tasks: list[asyncio.Task[None]], patience: float) -> None:
    """Cancel tasks, repeatedly if one suppresses it, and log those that do not end."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    pending = set(tasks)
    while pending and (left := end - loop.time()) > 0:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=min(left, _AGAIN))
    for task in pending:
        log.error("a task does not end and is left behind", task=task.get_name(), at=_place(task))


def _place(task: asyncio.Task[None]) -> str:
    """Return where a task waits."""
    stack = task.get_stack(limit=1)
    return f"{stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else ""


async def bounded(what: str, work: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Run a step of the shutdown with a time limit. A step that fails or hangs is logged and abandoned."""
    task = asyncio.ensure_future(work)
    _, pending = await asyncio.wait([task], timeout=seconds)
    if pending:
        task.cancel()
        log.error("a step of the stop hangs and is left behind", step=what, seconds=seconds)
    elif not task.cancelled() and (error := task.exception()):
        log.error("a step of the stop failed", step=what, error=in_words(error))
