# SPDX-License-Identifier: Apache-2.0
"""Dispatcher and watcher: queued runs become Jobs, ended Jobs become recorded ends.

The ledger is the only queue. Memory holds no more than which services have work that may be due, and how many Jobs run,
so that a restart rebuilds everything by two queries.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from oscar_fedcloud.fdl import Retry
from oscar_fedcloud.jobs import decide
from oscar_fedcloud.ledger import BadValue, Candidate, Ledger, LedgerUnavailable
from oscar_fedcloud.model import (
    Attempt,
    AttemptState,
    Completion,
    JobSpec,
    Launcher,
    LaunchError,
    Run,
    RunState,
    StorageEvent,
    job_name,
    object_id,
)
from oscar_fedcloud.waiting import wait

log = structlog.get_logger(__name__)

_WINDOW = 64  # candidates looked at beyond the free places, since some are superseded or wait for their key's turn
_LAUNCHES_AT_ONCE = 32
_LAUNCH = "launch "  # what the names of the tasks begin with that start a Job
_LEDGER_PAUSE = 1.0  # s between tries while the ledger is unavailable


@dataclass(frozen=True, slots=True)
class Policy:
    """What the dispatcher must know of a service. room: how many Jobs may run at once, 0 = no limit of its own."""

    room: int
    retry: Retry
    callback: str


@dataclass(frozen=True, slots=True)
class Site:
    """What the dispatcher asks of the rest of the daemon.

    policy: of a service that may start Jobs now, else None. spec: the Job of an attempt; raises LaunchError.
    on_changed_input: an input was found changed, so its newer revision must be looked for. on_end: a run ended.
    """

    policy: Callable[[str], Policy | None]
    spec: Callable[[Run, int], JobSpec]
    on_changed_input: Callable[[StorageEvent], None]
    on_end: Callable[[], None]


class Dispatcher:
    """Owns the launcher. All methods belong to the event loop."""

    def __init__(self, ledger: Ledger, launcher: Launcher, site: Site, max_running: int) -> None:
        self.ledger = ledger
        self.launcher = launcher
        self.site = site
        self.max_running = max_running
        self._jobs: dict[str, str] = {}  # Job -> its service
        self.running: Counter[str] = Counter()  # how many of them each service has
        self._turns: dict[str, str] = {}  # object_id of a run with a Job -> the run
        self._cancelling: set[str] = set()
        self._ready: set[str] = set()  # services that may have a run that is due now
        self._timers: dict[str, float] = {}  # service -> when its next waiting run is due
        self._wake = asyncio.Event()
        self._served = ""
        self._launches: dict[asyncio.Task[None], str] = {}  # under way -> its service
        self._slots = asyncio.Semaphore(_LAUNCHES_AT_ONCE)

    async def recover(self) -> None:
        """Take up what an earlier life left: adopt its Jobs, and start those that were committed but never begun."""
        attempts = await asyncio.to_thread(self.ledger.running)
        found = await self.launcher.adopt([attempt.job for _, attempt in attempts])
        for run, attempt in attempts:
            self._take_up(run, attempt)
            if attempt.job not in found:
                self._launch(run, attempt)
        self.wake(await asyncio.to_thread(self.ledger.services_waiting))
        log.info("recovered", running=len(attempts), adopted=len(found), services_waiting=len(self._ready))

    def wake(self, services: Iterable[str]) -> None:
        """These services may have runs that are due now."""
        self._ready.update(services)
        self._wake.set()

    async def dispatch(self) -> None:
        """Start runs for ever."""
        while True:
            try:
                await self._round()
                await self._rest()
            except LedgerUnavailable as error:
                log.warning("ledger unavailable, dispatching pauses", error=str(error))
                await self._look_for_begun()

    async def _look_for_begun(self) -> None:
        """After a commit of unknown fate: launch what the ledger says has begun, as soon as it answers."""
        while True:
            await asyncio.sleep(_LEDGER_PAUSE)
            with contextlib.suppress(LedgerUnavailable):
                attempts = await asyncio.to_thread(self.ledger.running)
                self.wake(await asyncio.to_thread(self.ledger.services_waiting))
                break
        for run, attempt in attempts:
            if attempt.job not in self._jobs:
                self._take_up(run, attempt)
                self._launch(run, attempt)

    def _take_up(self, run: Run, attempt: Attempt) -> None:
        self._jobs[attempt.job] = run.service
        self.running[run.service] += 1
        self._turns[object_id(run.service, run.event)] = run.id

    async def _rest(self) -> None:
        """Wait until something changed or the next waiting run is due."""
        timeout = max(0.0, min(self._timers.values()) - time.time()) if self._timers else None
        await wait(self._wake, timeout)
        self._wake.clear()

    async def _round(self) -> None:
        """Look at all services with due work; again while places are free and runs remain."""
        while True:
            now = time.time()
            self._ring(now)
            total = self.max_running - self.running.total()
            room = self._room(self._ready) if total > 0 else {}
            if not room:
                return
            self._ready.difference_update(room)
            due, timers = await asyncio.to_thread(self._candidates, room, total, now)
            self._ready.update(due)
            self._timers.update(timers)
            choice = decide.choose(due, room, total)
            if not choice.starts and not choice.superseded:
                return
            starts = [(run.id, job_name(run.service, run.id, run.attempts + 1)) for run in choice.starts]
            superseded = [run.id for run in choice.superseded]
            begun = await asyncio.to_thread(self.ledger.begin, starts, superseded, now)
            for run, attempt in begun:
                self._take_up(run, attempt)
                self._served = run.service
                self._launch(run, attempt)

    def _ring(self, now: float) -> None:
        """Services whose waiting run has become due."""
        rung = [name for name, when in self._timers.items() if when <= now]
        for name in rung:
            del self._timers[name]
        self._ready.update(rung)

    def _room(self, services: Iterable[str]) -> dict[str, int]:
        """Free places of each of these services that has any, beginning behind the one served last."""
        names = sorted(services)
        names = [name for name in names if name > self._served] + [name for name in names if name <= self._served]
        room: dict[str, int] = {}
        for name in names:
            policy = self.site.policy(name)
            if policy is not None and (free := (policy.room or self.max_running) - self.running[name]) > 0:
                room[name] = free
        return room

    def _candidates(
        self, room: Mapping[str, int], total: int, now: float
    ) -> tuple[dict[str, list[Candidate]], dict[str, float]]:
        """Due runs by service, and when the next waiting run of each service is due."""
        due: dict[str, list[Candidate]] = {}
        timers: dict[str, float] = {}
        for name, free in room.items():
            longest = self._longest_wait(name)
            if found := self.ledger.due(name, now, min(free, total) + _WINDOW, longest):
                due[name] = found
            if (later := self.ledger.next_due(name, now, longest)) is not None:
                timers[name] = later
        return due, timers

    def _longest_wait(self, service: str) -> float:
        """The longest backoff (s): a run that would wait longer was written before the clock was put back."""
        policy = self.site.policy(service)
        return max(policy.retry.backoff_max if policy else 0.0, decide.INFRASTRUCTURE_BACKOFF_MAX)

    def holder(self, run: Run) -> str:
        """The id of the run that has a Job for the service and key of this one, or ""."""
        return self._turns.get(object_id(run.service, run.event), "")

    def launching(self) -> set[str]:
        """The Jobs that are not handed to the launcher yet."""
        return {task.get_name().removeprefix(_LAUNCH) for task in self._launches}

    async def backlog(self) -> Counter[str]:
        """Runs by service that would have their Job now if there were room for it, within all limits, and have none.

        These are the ones that may begin, and those that began a moment ago. Raises LedgerUnavailable.
        """
        now, total = time.time(), self.max_running - self.running.total()
        waiting = await asyncio.to_thread(self.ledger.services_waiting) if total > 0 else {}
        room = self._room(name for name, when in waiting.items() if when <= now)
        due, _ = await asyncio.to_thread(self._candidates, room, total, now)
        starts = decide.choose(due, room, total).starts
        return Counter(run.service for run in starts) + Counter(self._launches.values())

    def _launch(self, run: Run, attempt: Attempt) -> None:
        task = asyncio.create_task(self._start(run, attempt), name=f"{_LAUNCH}{attempt.job}")
        self._launches[task] = run.service
        task.add_done_callback(self._launches.pop)

    async def _start(self, run: Run, attempt: Attempt) -> None:
        try:
            async with self._slots:
                await self.launcher.start(self.site.spec(await self._with_record(run), attempt.number))
        except (LaunchError, BadValue) as error:
            failed = Completion(attempt.job, AttemptState.LAUNCH_FAILED, None, str(error))
            await self._end(failed)
            return
        if attempt.job in self._cancelling:
            await self.launcher.cancel(attempt.job)

    async def _with_record(self, run: Run) -> Run:
        """The run with its event's record, which the ledger leaves out where it is large. Raises BadValue."""
        while not run.event.record:
            try:
                run = await asyncio.to_thread(self.ledger.record_of, run)
            except LedgerUnavailable as error:
                log.warning("ledger unavailable, the start of a job waits", job=run.id, error=str(error))
                await asyncio.sleep(_LEDGER_PAUSE)
        return run

    async def watch(self) -> None:
        """Record the end of Jobs for ever."""
        async for completion in self.launcher.completions():
            await self._end(completion)

    async def _end(self, completion: Completion) -> None:
        while True:
            try:
                run = await asyncio.to_thread(self._finish, completion)
                break
            except LedgerUnavailable as error:
                log.warning("ledger unavailable, the end of a job waits", job=completion.job, error=str(error))
                await asyncio.sleep(_LEDGER_PAUSE)
        await self.launcher.acknowledge(completion.job)
        self._cancelling.discard(completion.job)
        if run is None:
            return
        if service := self._jobs.pop(completion.job, None):
            self.running[service] -= 1
            self._turns.pop(object_id(service, run.event), None)
        if completion.state is AttemptState.INPUT_CHANGED:
            self.site.on_changed_input(run.event)
        self.wake([run.service])
        self.site.on_end()

    def _finish(self, completion: Completion) -> Run | None:
        found = self.ledger.attempt_by_job(completion.job)
        if found is None:
            log.warning("a job ended that the ledger does not know", job=completion.job)
            return None
        run, _ = found
        policy = self.site.policy(run.service) or Policy(0, Retry(), "")
        jitter = random.random()  # noqa: S311  no secret
        decision = decide.verdict(run, policy.retry, policy.callback, completion, time.time(), jitter)
        ended = self.ledger.finish(completion.job, completion, decision)
        log.info(
            "job ended",
            job=completion.job,
            state=completion.state,
            exit_code=completion.exit_code,
            run_state=decision.state,
            reason=completion.reason,
        )
        return ended or run  # recorded before, when the answer to an earlier try was lost

    async def cancel(self, run: Run) -> bool:
        """End a run; a queued one at once, a running one when its Job has gone. False if it had ended before."""
        if await asyncio.to_thread(self.ledger.cancel_queued, run.id):
            self.site.on_end()
            return True
        current = await asyncio.to_thread(self.ledger.run, run.id)
        if current is None or current.state is not RunState.RUNNING:
            return False
        await self._cancel_job(job_name(current.service, current.id, current.attempts))
        return True

    async def _cancel_job(self, job: str) -> None:
        self._cancelling.add(job)  # its start may still be under way
        await self.launcher.cancel(job)

    async def cancel_all(self, service: str) -> None:
        """End everything that a service has queued and running."""
        await asyncio.to_thread(self.ledger.cancel_service, service)
        for job in [job for job, owner in self._jobs.items() if owner == service]:
            await self._cancel_job(job)

    async def close(self) -> None:
        """Stop starting; Jobs go on and are adopted by the next life."""
        for task in tuple(self._launches):
            task.cancel()
        await asyncio.gather(*self._launches, return_exceptions=True)
        await self.launcher.close()
