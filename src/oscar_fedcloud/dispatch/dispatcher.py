# SPDX-License-Identifier: Apache-2.0
"""Dispatcher and watcher: queued runs become Jobs, ended Jobs become recorded ends.

The ledger is the only queue. Memory holds no more than which services have work that may be due, and how many Jobs run,
so that a restart rebuilds everything by two queries.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import structlog

from oscar_fedcloud.dispatch import decisions
from oscar_fedcloud.dispatch.adoption import Adoption
from oscar_fedcloud.dispatch.doubts import Doubts
from oscar_fedcloud.dispatch.ends import Ends
from oscar_fedcloud.dispatch.policy import Policy, kept
from oscar_fedcloud.dispatch.ports import DispatcherPorts
from oscar_fedcloud.dispatch.queues import FreeSlots, QueueContents, Queues
from oscar_fedcloud.dispatch.slots import Slots
from oscar_fedcloud.dispatch.starts import Starts
from oscar_fedcloud.domain.events import Recording
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, job_name
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import Troubles, doubled, is_cancelled, wait

log = structlog.get_logger(__name__)

_LEDGER_PAUSE = 1.0  # s between tries while the ledger is unavailable
_PAUSE, _PAUSE_MAX = 2.0, 60.0  # s between tries of what fails unexpectedly
_LONGEST_REST = 60.0  # s between looks at the clock, which may have been set
_CANCEL_PATIENCE = 10.0  # s that the removal of a service waits for its Jobs to be cancelled


class Dispatcher:
    """Owns the launcher. All methods belong to the event loop."""

    def __init__(
        self,
        ledger: Ledger,
        launcher: Launcher,
        ports: DispatcherPorts,
        max_running: int,
        troubles: Troubles | None = None,
    ) -> None:
        self.ledger = ledger
        self.launcher = launcher
        self.ports = ports
        self.max_running = max_running
        self.troubles = Troubles() if troubles is None else troubles
        self.ledger_trouble = ""  # why the ledger failed in the last round
        self.slots = Slots()
        self.ends = Ends(ledger, launcher, self.slots, self.troubles, ports, self)
        self.starts = Starts(ledger, launcher, self.troubles, ports, self.ends, self.slots)
        self.queues = Queues(ledger, self.troubles)
        self.adoption = Adoption(launcher, self.troubles)
        self._ready: set[str] = set()  # services that may have a run that is due now
        self._timers: dict[str, float] = {}  # service -> when its next waiting run is due
        self._cancellations: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._served = ""
        self._doubts = Doubts(ledger, ports, self)
        self._recovered = False
        self._unsure = False  # whether the ledger may hold begun attempts that are not counted

    @property
    def running(self) -> Counter[str]:
        """How many Jobs each service has."""
        return self.slots.running

    # -- taking up -------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Take up what an earlier life left: adopt its Jobs, and start those that were committed but never begun."""
        self.slots.note_ends()
        attempts = await asyncio.to_thread(self.ledger.running)
        waiting = await asyncio.to_thread(self.ledger.services_waiting)
        found, lost = await self.adoption.of({each[1].job: self.ports.places(*each) for each in attempts})
        for run, attempt in self.slots.unknown(attempts):
            self.slots.take(run, attempt)
            if attempt.job in lost:
                self.ends.begin(Completion(attempt.job, AttemptState.LOST, None, lost[attempt.job]))
            elif attempt.job not in found:
                self.starts.begin(run, attempt)
        self.wake(waiting)
        self._recovered = True
        log.info("recovered", running=len(attempts), adopted=len(found), services_waiting=len(self._ready))

    async def _look_for_begun(self) -> None:
        """After a commit of unknown fate: launch what the ledger says has begun, and look at all queues."""
        self.slots.note_ends()
        attempts = await asyncio.to_thread(self.ledger.running)
        for run, attempt in self.slots.unknown(attempts):
            self.slots.take(run, attempt)
            self.starts.begin(run, attempt)
        self.wake(await asyncio.to_thread(self.ledger.services_waiting))
        self._unsure = False

    def committed(self, recordings: Sequence[Recording]) -> None:
        """New events are on disk: their services may have work."""
        if services := {name for recording in recordings for name in recording.services}:
            self.wake(services)

    def services_ready(self, services: Sequence[str]) -> None:
        """These services may start Jobs now."""
        self.wake(services)

    def wake(self, services: Iterable[str]) -> None:
        """These services may have runs that are due now."""
        self._ready.update(services)
        self._wake.set()

    # -- dispatching -----------------------------------------------------------------------------------------------

    async def dispatch(self) -> None:
        """Start runs until cancelled. May be begun again after an unexpected failure."""
        if not self._recovered:
            await self.recover()
        while True:
            try:
                if self._unsure:
                    await self._look_for_begun()
                self._unsure = True  # until the round is over
                self._unsure = not await self._round()
                self.ledger_trouble = ""
                if not self._unsure:
                    await self._rest()
            except LedgerUnavailable as error:
                self.ledger_trouble = str(error)
                log.warning("ledger unavailable, dispatching pauses", error=str(error))
                await asyncio.sleep(_LEDGER_PAUSE)

    async def _rest(self) -> None:
        """Wait until something changed or the next waiting run is due."""
        due = min(self._timers.values()) - time.time() if self._timers else _LONGEST_REST
        await wait(self._wake, max(0.0, min(due, _LONGEST_REST)))
        self._wake.clear()

    async def _round(self) -> bool:
        """Look at all services with due work; again while places are free and runs remain.

        Returns False if a commit failed unexpectedly, so that the ledger has to be asked what has begun.
        """
        while True:
            now = time.time()
            self._ring(now)
            total = self.max_running - self.running.total()
            room = self._room(self._ready) if total > 0 else {}
            if not room:
                return True
            self._ready.difference_update(room)
            queues = await asyncio.to_thread(self.queues.look, room, total, now)
            self._ready.update(queues.due)
            self._timers.update(queues.timers)
            self._note(room, queues)
            choice = decisions.choose(queues.due, {name: free for name, (free, _) in room.items()}, total)
            self._doubts.settle(choice.doubtful)
            if not choice.starts and not choice.superseded:
                return True
            if not await self._begin(choice, {name: policy for name, (_, policy) in room.items()}, now):
                return False

    async def _begin(self, choice: decisions.Choice, policies: Mapping[str, Policy], now: float) -> bool:
        """Commit that these runs begin, and start their Jobs. Returns False if what was committed is unknown."""
        starts = [_start_of(run) for run in choice.starts]
        texts = {name: kept(policies[name]) for name in {run.service for run in choice.starts}}
        try:
            begun = await asyncio.to_thread(
                self.ledger.begin, starts, [run.id for run in choice.superseded], now, texts
            )
        except LedgerUnavailable:
            raise
        except Exception as error:
            report(
                log,
                "runs cannot begin together, they begin one by one",
                error,
            )
            await self._begin_singly(choice, texts, now)
            return False
        for run, attempt in begun:
            self.slots.take(run, attempt)
            self._served = run.service
            self.starts.begin(run, attempt)
            self.queues.works(run.service)
        return True

    def _note(self, room: FreeSlots, queues: QueueContents) -> None:
        """Note which queues could be looked at, and which not."""
        for name, error in queues.failed.items():
            self._timers[name] = self.queues.hold(name, error)
        for name in room.keys() - queues.failed.keys() - queues.due.keys():
            self.queues.works(name)

    async def _begin_singly(self, choice: decisions.Choice, texts: Mapping[str, str], now: float) -> None:
        """Begin each run by itself, so that one that cannot begin holds up only its own service."""
        for run in (*choice.superseded, *choice.starts):
            starts, superseded = ([_start_of(run)], []) if run in choice.starts else ([], [run.id])
            try:
                await asyncio.to_thread(self.ledger.begin, starts, superseded, now, texts)
            except LedgerUnavailable:
                raise
            except Exception as error:
                self._timers[run.service] = self.queues.hold(run.service, error)

    def _ring(self, now: float) -> None:
        """Services whose waiting run has become due, or waits for a time that only a clock set back explains."""
        rung = [name for name, when in self._timers.items() if when <= now or when > now + self._longest_wait(name)]
        for name in rung:
            del self._timers[name]
        self._ready.update(rung)

    def _longest_wait(self, name: str) -> float:
        policy = self.ports.policy(name)
        return policy.longest_wait if policy else math.inf

    def _room(self, services: Iterable[str]) -> dict[str, tuple[int, Policy]]:
        """Free places of each of these services that has any, beginning behind the one served last."""
        names = sorted(services)
        names = [name for name in names if name > self._served] + [name for name in names if name <= self._served]
        room: dict[str, tuple[int, Policy]] = {}
        for name in names:
            policy = self.ports.policy(name)
            if policy is None or self.queues.is_held(name):
                continue
            if (free := (policy.room or self.max_running) - self.running[name]) > 0:
                room[name] = free, policy
        return room

    # -- standing --------------------------------------------------------------------------------------------------

    def holder(self, run: Run) -> str:
        """The id of the run that has a Job for the service and key of this one, or ""."""
        return self.slots.holder(run)

    def launching(self) -> set[str]:
        """The Jobs that are not handed to the launcher yet."""
        return self.starts.jobs()

    async def backlog(self) -> Counter[str]:
        """Runs by service that would have their Job now if there were room for it, within all limits, and have none.

        These are the ones that may begin, and those that began a moment ago. Raises LedgerUnavailable.
        """
        now, total = time.time(), self.max_running - self.running.total()
        waiting = await asyncio.to_thread(self.ledger.services_waiting) if total > 0 else {}
        room = self._room(name for name, when in waiting.items() if when <= now)
        queues = await asyncio.to_thread(self.queues.look, room, total, now)
        starts = decisions.choose(queues.due, {name: free for name, (free, _) in room.items()}, total).starts
        return Counter(run.service for run in starts) + self.starts.services()

    # -- ends ------------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Record the end of Jobs until cancelled."""
        await self.ends.watch()

    def job_ended(self, completion: Completion, run: Run | None) -> None:
        """The end of a Job was recorded: its slot is free, and its service may have more work."""
        self._wake.set()
        if run is None:
            return
        if completion.state is AttemptState.INPUT_CHANGED:
            self.ports.input_changed(run.event)
        self.wake([run.service])
        self.ports.run_ended()

    async def cancel(self, run: Run) -> bool:
        """End a run; a queued one at once, a running one when its Job has gone. False if it had ended before."""
        if await asyncio.to_thread(self.ledger.cancel_queued, run.id):
            self.ports.run_ended()
            return True
        current = await asyncio.to_thread(self.ledger.run, run.id)
        if current is None or current.state is not RunState.RUNNING:
            return False
        await self._cancel_job(job_name(current.service, current.id, current.attempts))
        return True

    async def _cancel_job(self, job: str) -> None:
        self.starts.cancel(job)  # its start may still be under way
        await self.launcher.cancel(job)

    async def cancel_all(self, service: str) -> None:
        """End all that a service has queued and running. A Job that does not go soon is left to the background."""
        await asyncio.to_thread(self.ledger.cancel_service, service)
        tasks = [asyncio.create_task(self._cancel_surely(job)) for job in self.slots.jobs_of(service)]
        for task in tasks:
            self._cancellations.add(task)
            task.add_done_callback(self._cancellations.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_PATIENCE)

    async def _cancel_surely(self, job: str) -> None:
        """Cancel a Job, however often that takes, until it has ended."""
        what, pause = f"cancellation of job {job}", _PAUSE
        while job in self.slots:
            try:
                await self._cancel_job(job)
                break
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                self.troubles.note(what, error, pause)
                await asyncio.sleep(pause)
                pause = doubled(pause, _PAUSE_MAX)
        self.troubles.clear(what)

    async def close(self) -> None:
        """Stop starting; Jobs go on and are adopted by the next life."""
        await self._doubts.close()
        for task in tuple(self._cancellations):
            task.cancel()
        await asyncio.gather(*self._cancellations, self.starts.close(), self.ends.close(), return_exceptions=True)
        await self.launcher.close()


def _start_of(run: Run) -> tuple[str, str]:
    """Return what the ledger needs to begin the next attempt of a run."""
    return run.id, job_name(run.service, run.id, run.attempts + 1)
