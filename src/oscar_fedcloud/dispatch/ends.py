# SPDX-License-Identifier: Apache-2.0
"""Records how Jobs ended, each in its own task, so that an end that cannot be recorded delays no other."""

from __future__ import annotations

import asyncio
import random
import time

import structlog

from oscar_fedcloud.dispatch import decisions
from oscar_fedcloud.dispatch.policy import Policy, decode_policy
from oscar_fedcloud.dispatch.ports import DispatcherPorts, EndListener
from oscar_fedcloud.dispatch.slots import Slots
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run
from oscar_fedcloud.fdl import Retry
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import Troubles, doubled, in_words, is_cancelled

log = structlog.get_logger(__name__)

AT_ONCE = 8  # ends that are recorded concurrently
_LEDGER_PAUSE = 1.0  # s between attempts while the ledger is unavailable
_PAUSE, _PAUSE_MAX = 1.0, 60.0  # s between attempts after an unexpected failure
_WHOLE_TRIES = 3  # then what the Job reported is left out, since it may be the cause
_ACKNOWLEDGE_TRIES = 4


class Ends:
    """Passes ends from the launcher to the ledger.

    Args:
        listener: informed of each recorded end.
    """

    def __init__(
        self,
        ledger: Ledger,
        launcher: Launcher,
        slots: Slots,
        troubles: Troubles,
        ports: DispatcherPorts,
        listener: EndListener,
    ) -> None:
        self.ledger = ledger
        self.launcher = launcher
        self.slots = slots
        self.troubles = troubles
        self.ports = ports
        self.listener = listener
        self.unrecorded: dict[str, str] = {}  # ended Jobs -> why the end is not recorded yet
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def watch(self) -> None:
        """Process each end that the launcher reports, until cancelled."""
        async for completion in self.launcher.completions():
            if isinstance(completion, Completion) and isinstance(completion.job, str):
                self.begin(completion)
            else:
                report(log, "the launcher reported an invalid end", TypeError(repr(completion)[:200]))

    def begin(self, completion: Completion) -> None:
        """Record an end in its own task, unless that is already in progress."""
        if completion.job not in self._tasks:
            task = asyncio.create_task(self._end(completion), name=f"end of {completion.job}")
            self._tasks[completion.job] = task
            task.add_done_callback(lambda _: self._tasks.pop(completion.job, None))

    async def _end(self, completion: Completion) -> None:
        run = await self._record(completion)
        self.slots.free(completion.job)
        self.listener.job_ended(completion, run)
        await self._acknowledge(completion.job)

    async def _record(self, completion: Completion) -> Run | None:
        """Record an end, retrying until it succeeds; after some failures, without the details that the Job reported."""
        what, pause, failures, told = f"end of job {completion.job}", _PAUSE, 0, completion
        while True:
            try:
                async with self._places:
                    run = await asyncio.to_thread(self._finish, told)
                self.troubles.clear(what)
                self.unrecorded.pop(completion.job, None)
                return run
            except LedgerUnavailable as error:
                self.unrecorded[completion.job] = f"the job has ended, which is recorded as soon as possible: {error}"
                log.warning("ledger unavailable, the end of a job waits", job=told.job, error=str(error))
                await asyncio.sleep(_LEDGER_PAUSE)
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                report(log, "the end of a job cannot be recorded, retrying", error, job=told.job)
                self.troubles.note(what, error, pause)
                failures += 1
                told = _plain(completion, error, failures // _WHOLE_TRIES)
                await asyncio.sleep(pause)
                pause = doubled(pause, _PAUSE_MAX)

    def _finish(self, completion: Completion) -> Run | None:
        found = self.ledger.attempt_by_job(completion.job)
        if found is None:
            log.warning("a job ended that the ledger does not know", job=completion.job)
            return None
        run, attempt = found
        policy = decode_policy(attempt.policy) or self.ports.policy(run.service) or Policy(0, Retry(), "")
        jitter = random.random()  # noqa: S311  no secret
        decision = decisions.transition(run, policy.retry, policy.callback, completion, time.time(), jitter)
        ended = self.ledger.finish(completion.job, completion, decision)
        log.info(
            "job ended",
            job=completion.job,
            state=completion.state,
            exit_code=completion.exit_code,
            run_state=decision.state,
            reason=completion.reason,
        )
        return ended or run  # already recorded, but the result of an earlier attempt was lost

    async def _acknowledge(self, job: str) -> None:
        """Allow the launcher to remove the Job. If that fails, the launcher removes it at its next start."""
        pause = _PAUSE
        for _ in range(_ACKNOWLEDGE_TRIES):
            try:
                await self.launcher.acknowledge(job)
                return
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                report(log, "the launcher cannot remove a job", error, job=job)
                await asyncio.sleep(pause)
                pause = doubled(pause, _PAUSE_MAX)

    async def close(self) -> None:
        """Leave the remaining ends to the next process, to which the launcher reports them again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _plain(completion: Completion, error: BaseException, step: int) -> Completion:
    """Return what to record after failures: first the whole completion, then its state alone, then a failure."""
    if step == 0:
        return completion
    reason = f"what the job reported could not be recorded: {in_words(error)}"
    known = isinstance(completion.state, AttemptState) and step == 1
    return Completion(completion.job, completion.state if known else AttemptState.FAILED, None, reason)
