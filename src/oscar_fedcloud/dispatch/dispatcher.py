# SPDX-License-Identifier: Apache-2.0
"""Dispatcher: starts queued runs as Jobs and records how Jobs ended.

The ledger is the only queue. Memory holds only which services may have due work and how many Jobs are running, so a
restart rebuilds the state with two queries.
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
from oscar_fedcloud.dispatch.ends import Ends
from oscar_fedcloud.dispatch.policy import Policy, encode_policy
from oscar_fedcloud.dispatch.ports import DispatcherPorts
from oscar_fedcloud.dispatch.queues import FreeSlots, QueueContents, Queues
from oscar_fedcloud.dispatch.revision_resolver import RevisionResolver
from oscar_fedcloud.dispatch.slots import Slots
from oscar_fedcloud.dispatch.starts import Starts
from oscar_fedcloud.domain.events import Recording
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, job_name
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import Troubles, doubled, is_cancelled, wait

log = structlog.get_logger(__name__)

_LEDGER_PAUSE = 1.0  # s between attempts while the ledger is unavailable
_PAUSE, _PAUSE_MAX = 2.0, 60.0  # s between attempts after an unexpected failure
_LONGEST_REST = 60.0  # s between checks of the clock, which may have been changed
_CANCEL_PATIENCE = 10.0  # s for which the removal of a service waits until its Jobs are cancelled


class Dispatcher:
    """Owns the launcher. All methods must be called on the event loop."""

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
        self.ledger_trouble = ""  # why the ledger failed in the last pass
        self.slots = Slots()
        self.ends = Ends(ledger, launcher, self.slots, self.troubles, ports, self)
        self.starts = Starts(ledger, launcher, self.troubles, ports, self.ends, self.slots)
        self.queues = Queues(ledger, self.troubles)
        self.adoption = Adoption(launcher, self.troubles)
        self._ready: set[str] = set()  # services that may have a due run
        self._timers: dict[str, float] = {}  # service -> when its next waiting run is due
        self._cancellations: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._last_served = ""
        self._revisions = RevisionResolver(ledger, ports, self)
        self._recovered = False
        self._unsure = False  # whether the ledger may hold started attempts that have no slot

    @property
    def running(self) -> Counter[str]:
        """The number of Jobs of each service."""
        return self.slots.running

    # -- recovery --------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """

        esume the work of an earlier process: adopt its Jobs, and start attempts that were committed but not launched.
        """
        self.slots.note_ends()
        attempts = await asyncio.to_thread(self.ledger.running)
        waiting = await asyncio.to_thread(self.ledger.services_waiting)
        found, lost = await self.adoption.adopt({each[1].job: self.ports.places(*each) for each in attempts})
        for run, attempt in self.slots.unknown(attempts):
            self.slots.take(run, attempt)
            if attempt.job in lost:
                self.ends.begin(Completion(attempt.job, AttemptState.LOST, None, lost[attempt.job]))
            elif attempt.job not in found:
                self.starts.begin(run, attempt)
        self.wake(waiting)
        self._recovered = True
        log.info("recovered", running=len(attempts), adopted=len(found), services_waiting=len(self._ready))

    async def _relaunch_unconfirmed(self) -> None:
        """Launch attempts that the ledger shows as started and check all queues, after a commit of unknown outcome."""
        self.slots.note_ends()
        attempts = await asyncio.to_thread(self.ledger.running)
        for run, attempt in self.slots.unknown(attempts):
            self.slots.take(run, attempt)
            self.starts.begin(run, attempt)
        self.wake(await asyncio.to_thread(self.ledger.services_waiting))
        self._unsure = False

    def committed(self, recordings: Sequence[Recording]) -> None:
        """Handle committed events: their services may have work."""
        if services := {name for recording in recordings for name in recording.services}:
            self.wake(services)

    def services_ready(self, services: Sequence[str]) -> None:
        """Handle that these services may start Jobs now."""
        self.wake(services)

    def wake(self, services: Iterable[str]) -> None:
        """Check these services for due runs."""
        self._ready.update(services)
        self._wake.set()

    # -- dispatching -----------------------------------------------------------------------------------------------

    async def dispatch(self) -> None:
        """Start runs until cancelled. May be called again after an unexpected failure."""
        if not self._recovered:
            await self.recover()
        while True:
            try:
                if self._unsure:
                    await self._relaunch_unconfirmed()
                self._unsure = True  # until the pass has ended
                self._unsure = not await self._dispatch_once()
                self.ledger_trouble = ""
                if not self._unsure:
                    await self._wait()
            except LedgerUnavailable as error:
                self.ledger_trouble = str(error)
                log.warning("ledger unavailable, dispatching pauses", error=str(error))
                await asyncio.sleep(_LEDGER_PAUSE)

    async def _wait(self) -> None:
        """Wait until something changes or the next waiting run is due."""
        due = min(self._timers.values()) - time.time() if self._timers else _LONGEST_REST
        await wait(self._wake, max(0.0, min(due, _LONGEST_REST)))
        self._wake.clear()

    async def _dispatch_once(self) -> bool:
        """Start due runs of all services, and repeat while slots are free and runs remain.

        Return False if a commit failed unexpectedly, so that the ledger must be asked which attempts have started.
        """
        while True:
            now = time.time()
            self._expire_timers(now)
            total = self.max_running - self.running.total()
            free_slots = self._free_slots(self._ready) if total > 0 else {}
            if not free_slots:
                return True
            self._ready.difference_update(free_slots)
            queues = await asyncio.to_thread(self.queues.read, free_slots, total, now)
            self._ready.update(queues.due)
            self._timers.update(queues.timers)
            self._note_failures(free_slots, queues)
            choice = decisions.choose(queues.due, {name: free for name, (free, _) in free_slots.items()}, total)
            self._revisions.resolve(choice.doubtful)
            if not choice.starts and not choice.superseded:
                return True
            if not await self._begin(choice, {name: policy for name, (_, policy) in free_slots.items()}, now):
                return False

    async def _begin(self, choice: decisions.Choice, policies: Mapping[str, Policy], now: float) -> bool:
        """Commit the start of these runs and launch their Jobs. Return False if it is unknown what was committed."""
        starts = [_start_of(run) for run in choice.starts]
        texts = {name: encode_policy(policies[name]) for name in {run.service for run in choice.starts}}
        try:
            begun = await asyncio.to_thread(
                self.ledger.begin, starts, [run.id for run in choice.superseded], now, texts
            )
        except LedgerUnavailable:
            raise
        except Exception as error:
            report(
                log,
                "runs cannot be started together, starting them one by one",
                error,
            )
            await self._begin_singly(choice, texts, now)
            return False
        for run, attempt in begun:
            self.slots.take(run, attempt)
            self._last_served = run.service
            self.starts.begin(run, attempt)
            self.queues.succeeded(run.service)
        return True

    def _note_failures(self, free_slots: FreeSlots, queues: QueueContents) -> None:
        """Record which queues could be read and which could not."""
        for name, error in queues.failed.items():
            self._timers[name] = self.queues.hold(name, error)
        for name in free_slots.keys() - queues.failed.keys() - queues.due.keys():
            self.queues.succeeded(name)

    async def _begin_singly(self, choice: decisions.Choice, texts: Mapping[str, str], now: float) -> None:
        """Start each run separately, so that a run that cannot start delays only its own service."""
        for run in (*choice.superseded, *choice.starts):
            starts, superseded = ([_start_of(run)], []) if run in choice.starts else ([], [run.id])
            try:
                await asyncio.to_thread(self.ledger.begin, starts, superseded, now, texts)
            except LedgerUnavailable:
                raise
            except Exception as error:
                self._timers[run.service] = self.queues.hold(run.service, error)

    def _expire_timers(self, now: float) -> None:
        """Mark services as ready whose waiting run is due, or is due so late that the clock must have been set back."""
        rung = [name for name, when in self._timers.items() if when <= now or when > now + self._longest_wait(name)]
        for name in rung:
            del self._timers[name]
        self._ready.update(rung)

    def _longest_wait(self, name: str) -> float:
        policy = self.ports.policy(name)
        return policy.longest_wait if policy else math.inf

    def _free_slots(self, services: Iterable[str]) -> dict[str, tuple[int, Policy]]:
        """Return the free slots of those services that have any, in turn after the service that was served last."""
        names = sorted(services)
        names = [name for name in names if name > self._last_served] + [
            name for name in names if name <= self._last_served
        ]
        free_slots: dict[str, tuple[int, Policy]] = {}
        for name in names:
            policy = self.ports.policy(name)
            if policy is None or self.queues.is_held(name):
                continue
            if (free := (policy.concurrency or self.max_running) - self.running[name]) > 0:
                free_slots[name] = free, policy
        return free_slots

    # -- status ----------------------------------------------------------------------------------------------------

    def holder(self, run: Run) -> str:
        """Return the id of the run that has a Job for this run's service and key, or "" if there is none."""
        return self.slots.holder(run)

    def launching(self) -> set[str]:
        """Return the Jobs that have not been handed to the launcher yet."""
        return self.starts.jobs()

    async def backlog(self) -> Counter[str]:
        """Count the runs, by service, that would have a Job now if there were capacity, within all limits.

        Includes runs that started a moment ago and have no Job yet. Raises LedgerUnavailable.
        """
        now, total = time.time(), self.max_running - self.running.total()
        waiting = await asyncio.to_thread(self.ledger.services_waiting) if total > 0 else {}
        free_slots = self._free_slots(name for name, when in waiting.items() if when <= now)
        queues = await asyncio.to_thread(self.queues.read, free_slots, total, now)
        starts = decisions.choose(queues.due, {name: free for name, (free, _) in free_slots.items()}, total).starts
        return Counter(run.service for run in starts) + self.starts.services()

    # -- ends ------------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Record the end of Jobs until cancelled."""
        await self.ends.watch()

    def job_ended(self, completion: Completion, run: Run | None) -> None:
        """Free the slot of a Job whose end was recorded, and check its service for more work."""
        self._wake.set()
        if run is None:
            return
        if completion.state is AttemptState.INPUT_CHANGED:
            self.ports.input_changed(run.event)
        self.wake([run.service])
        self.ports.run_ended()

    async def cancel(self, run: Run) -> bool:
        """End a run: a queued one immediately, a running one when its Job is gone.

        Return False if it had already ended.
        """
        if await asyncio.to_thread(self.ledger.cancel_queued, run.id):
            self.ports.run_ended()
            return True
        current = await asyncio.to_thread(self.ledger.run, run.id)
        if current is None or current.state is not RunState.RUNNING:
            return False
        await self._cancel_job(job_name(current.service, current.id, current.attempts))
        return True

    async def _cancel_job(self, job: str) -> None:
        self.starts.cancel(job)  # the launch may still be in progress
        await self.launcher.cancel(job)

    async def cancel_all(self, service: str) -> None:
        """Cancel all queued and running Jobs of a service. Jobs that take long are cancelled in the background."""
        await asyncio.to_thread(self.ledger.cancel_service, service)
        tasks = [asyncio.create_task(self._cancel_surely(job)) for job in self.slots.jobs_of(service)]
        for task in tasks:
            self._cancellations.add(task)
            task.add_done_callback(self._cancellations.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_PATIENCE)

    async def _cancel_surely(self, job: str) -> None:
        """Cancel a Job, retrying until it has ended."""
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
        """Stop starting Jobs. Running Jobs continue and are adopted by the next process."""
        await self._revisions.close()
        for task in tuple(self._cancellations):
            task.cancel()
        await asyncio.gather(*self._cancellations, self.starts.close(), self.ends.close(), return_exceptions=True)
        await self.launcher.close()


def _start_of(run: Run) -> tuple[str, str]:
    """Return the arguments with which the ledger starts the next attempt of a run."""
    return run.id, job_name(run.service, run.id, run.attempts + 1)
