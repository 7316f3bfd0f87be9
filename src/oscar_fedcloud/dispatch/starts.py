# SPDX-License-Identifier: Apache-2.0
"""Hands attempts to the launcher. Any failure ends the attempt with a reason and frees its slot."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog

from oscar_fedcloud.dispatch.ends import Ends
from oscar_fedcloud.dispatch.ports import DispatcherPorts
from oscar_fedcloud.dispatch.slots import Slots
from oscar_fedcloud.domain.runs import Attempt, AttemptState, Completion, Run, StoredObject
from oscar_fedcloud.launchers.port import JobSpec, Launcher, LaunchError
from oscar_fedcloud.ledger import BadValue, Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import Troubles, doubled, in_words, is_cancelled

log = structlog.get_logger(__name__)

AT_ONCE = 32
_TRIES = 3  # of a start that fails unexpectedly; repeating it is safe, since it is the same Job
_PAUSE = 1.0  # s before the second attempt; doubled
_LEDGER_PAUSE = 1.0  # s between attempts while the ledger is unavailable
_SLOW = 60.0  # s after which a start without a result no longer blocks others


class Starts:
    """Starts Jobs, several concurrently.

    Args:
        ends: receives the attempts that could not be started.
        slots: the Jobs that have not ended.
    """

    def __init__(
        self,
        ledger: Ledger,
        launcher: Launcher,
        troubles: Troubles,
        ports: DispatcherPorts,
        ends: Ends,
        slots: Slots,
    ) -> None:
        self.ledger = ledger
        self.launcher = launcher
        self.slots = slots
        self.troubles = troubles
        self.ports = ports
        self.ends = ends
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, tuple[asyncio.Task[None], str]] = {}  # Job -> its start and its service
        self._cancelled: set[str] = set()

    def begin(self, run: Run, attempt: Attempt) -> None:
        """Start the Job of an attempt in its own task, unless that is already in progress."""
        if attempt.job in self._tasks:
            return
        task = asyncio.create_task(self._start(run, attempt), name=f"launch {attempt.job}")
        self._tasks[attempt.job] = task, run.service
        task.add_done_callback(lambda _: self._done(attempt.job))

    def _done(self, job: str) -> None:
        self._tasks.pop(job, None)
        self._cancelled.discard(job)
        self.troubles.clear(f"start of job {job}")

    async def _start(self, run: Run, attempt: Attempt) -> None:
        try:
            await self._launch(attempt.job, self.ports.spec(*await self._read(run, attempt)))
            if attempt.job in self._cancelled:
                await self.launcher.cancel(attempt.job)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            reason = str(error)
            if not isinstance(error, LaunchError | BadValue):
                report(log, "a job could not be made", error, job=attempt.job)
                reason = f"the job could not be made: {in_words(error)}"
            self.ends.begin(Completion(attempt.job, AttemptState.LAUNCH_FAILED, None, reason))

    async def _read(self, run: Run, attempt: Attempt) -> tuple[Run, int, Sequence[StoredObject]]:
        """Return the run with its event's record, the attempt's number, and what earlier attempts wrote.

        The ledger leaves out large records. Raises BadValue.
        """
        while True:
            try:
                if not run.event.record:
                    run = await asyncio.to_thread(self.ledger.record_of, run)
                if attempt.number == 1:
                    return run, attempt.number, ()
                written = await asyncio.to_thread(self.ledger.written, run.id, attempt.number)
                return run, attempt.number, written
            except LedgerUnavailable as error:
                log.warning("ledger unavailable, the start of a job waits", job=run.id, error=str(error))
                await asyncio.sleep(_LEDGER_PAUSE)

    async def _launch(self, job: str, spec: JobSpec) -> None:
        """Start the Job, retrying after unexpected failures, since it may exist; if all attempts fail, cancel it."""
        pause = _PAUSE
        for left in reversed(range(_TRIES)):
            try:
                await self._answered(job, spec)
                return
            except LaunchError:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                if not left:
                    await self._call_off(job)
                    raise
                report(log, "the start of a job failed, retrying", error, job=job)
                self.troubles.note(f"start of job {job}", error, pause)
                await asyncio.sleep(pause)
                if job not in self.slots:
                    return  # it started, and has ended since
                pause = doubled(pause, _SLOW)

    async def _answered(self, job: str, spec: JobSpec) -> None:
        """Wait for the launcher's result. If that takes long, give up the place among concurrent starts."""
        async with self._places:
            work = asyncio.ensure_future(self.launcher.start(spec))
            try:
                done, _ = await asyncio.wait({work}, timeout=_SLOW)
            except asyncio.CancelledError:
                work.cancel()
                raise
        if not done:
            self.troubles.note(f"start of job {job}", f"no answer for {_SLOW:g} s", _SLOW)
        await work

    async def _call_off(self, job: str) -> None:
        """Cancel a Job that may have started although its launch failed."""
        try:
            await self.launcher.cancel(job)
        except Exception as error:
            log.warning("a job that could not be started cannot be cancelled either", job=job, error=in_words(error))

    def cancel(self, job: str) -> None:
        """End a cancelled Job as soon as its launch, if in progress, has completed."""
        if job in self._tasks:
            self._cancelled.add(job)

    def jobs(self) -> set[str]:
        """Return the Jobs that have not been handed to the launcher yet."""
        return set(self._tasks)

    def services(self) -> Counter[str]:
        """Return the number of these Jobs by service."""
        return Counter(service for _, service in self._tasks.values())

    async def close(self) -> None:
        """Stop starting Jobs. Attempts that the ledger shows as started are launched by the next process."""
        tasks = [task for task, _ in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
