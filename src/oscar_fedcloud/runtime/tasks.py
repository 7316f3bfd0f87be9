# SPDX-License-Identifier: Apache-2.0
"""Supervised tasks: each is begun again, after a pause, when it ends unexpectedly. The process lives on.

A task that fails shows in the readiness until it has worked for a while. Only what fails at start ends the process: the
configuration, the lock on the data folder, the port, the ledger, the catalogue. An event loop that stands still is for
the service manager's watchdog.
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

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # s before a task is begun again; doubled with each failure
STEADY = 30.0  # s of work after which a task counts as healthy, and its next failure as the first
PATIENCE = 10.0  # s that tasks get to end
_AGAIN = 1.0  # s between cancellations of a task that goes on

Work = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """The long-lived tasks of a daemon, by name. All methods but ``health`` and ``restarts`` belong to the event loop.

    troubles: of single pieces of work, which tasks share; each task's own failures are noted there too.
    """

    def __init__(self, troubles: Troubles | None = None) -> None:
        self.troubles = Troubles() if troubles is None else troubles
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._restarts: Counter[str] = Counter()

    def start(self, name: str, work: Work) -> None:
        """Begin a task: ``work`` makes its coroutine, which is to run until it is cancelled."""
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
        """End one task, if it runs."""
        if task := self._tasks.pop(name, None):
            await _cancel([task], PATIENCE)
        self.troubles.clear(f"task {name}")
        del self._restarts[name]

    async def close(self, patience: float = PATIENCE) -> None:
        """End all tasks. One that goes on nevertheless is named in the log and left behind."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await _cancel(tasks, patience)

    def restarts(self) -> Mapping[str, int]:
        """Return how often each task was begun again."""
        return dict(self._restarts)

    def health(self) -> dict[str, Any]:
        """Return whether all tasks run, and nothing that they do is in trouble."""
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
    """Cancel tasks, again and again where one swallows it, and name in the log those that go on."""
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
    """Do one step of a stop within a time limit; a step that fails or hangs is named in the log and left behind."""
    task = asyncio.ensure_future(work)
    _, pending = await asyncio.wait([task], timeout=seconds)
    if pending:
        task.cancel()
        log.error("a step of the stop hangs and is left behind", step=what, seconds=seconds)
    elif not task.cancelled() and (error := task.exception()):
        log.error("a step of the stop failed", step=what, error=in_words(error))
