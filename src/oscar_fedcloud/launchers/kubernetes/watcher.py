# SPDX-License-Identifier: Apache-2.0
"""Watches our Jobs and Pods, and carries out what follows from what is seen, up to the end of each expected Job."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.runs import AttemptState, Completion, OutputPlace
from oscar_fedcloud.kube import KubeClient, KubeError, ListSnapshot, ResourceType, watch
from oscar_fedcloud.launchers.kubernetes import job_results as endings
from oscar_fedcloud.launchers.kubernetes import pod_problems as troubles
from oscar_fedcloud.launchers.kubernetes.objects import Job, Pod
from oscar_fedcloud.launchers.kubernetes.picture import (
    AddOutputs,
    Check,
    Delete,
    LookUp,
    LookWhy,
    Picture,
    Report,
    Step,
)
from oscar_fedcloud.launchers.kubernetes.run_records import Records
from oscar_fedcloud.launchers.kubernetes.template import CONTAINER, SELECTOR
from oscar_fedcloud.launchers.runner.result import Result, plain
from oscar_fedcloud.runtime.tasks import Tasks
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import doubled

log = structlog.get_logger(__name__)

_SWEEP = 2.0  # s between looks at Jobs that do not come to their end
_LOOK = 5.0  # s between looks into a log for what its Job waits for
_RETRY, _LONGEST_RETRY = 2.0, 60.0  # s between tries of what must come through


class Watcher:
    """All methods belong to the event loop. ``picture`` knows what is seen, and decides."""

    def __init__(self, client: KubeClient, config: KubernetesConfig, records: Records) -> None:
        self.client = client
        self.config = config
        self.records = records
        self.picture = Picture(config)
        self.job_kind = ResourceType("batch/v1", "jobs", config.namespace)
        self.pod_kind = ResourceType("v1", "pods", config.namespace)
        self.event_kind = ResourceType("v1", "events", config.namespace)
        self.synced = asyncio.Event()  # the picture is whole
        self.trouble: dict[str, str] = {}  # what is watched -> why that does not work now
        self._ended: asyncio.Queue[Completion] = asyncio.Queue()
        self.tasks = Tasks()  # those that watch, begun again when they fail
        self._tasks: set[asyncio.Task[None]] = set()  # those about one Job
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress: dict[str, tuple[float, str]] = {}  # Job -> when its log was looked at, and what it says

    # -- life ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start watching; once."""
        self._loop = asyncio.get_running_loop()
        for name, work in (("jobs", self._watch_jobs), ("pods", self._watch_pods), ("sweep", self._sweep_for_ever)):
            if name not in self.tasks:
                self.tasks.start(name, work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            report(log, "a task of the watcher failed", error)

    async def close(self) -> None:
        """Stop watching."""
        await self.tasks.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def completions(self) -> AsyncIterator[Completion]:
        """The end of each expected Job."""
        while True:
            yield await self._ended.get()

    # -- what is expected ------------------------------------------------------------------------------------------

    def made(self, job: str) -> None:
        """It was made, or was there before."""
        self.carry_out(self.picture.made(job, time.monotonic()))

    def end(self, job: str, completion: Completion) -> None:
        """Delete the Job, and report this as its end unless it comes to another one before."""
        self.carry_out(self.picture.end(job, completion))

    async def find(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> set[str]:
        """Those of an earlier life that exist, or existed and left a record; their end will be reported.

        jobs: with where each may have written.
        """
        self.picture.adopt(jobs, time.monotonic())
        if not self.synced.is_set():  # it does not answer now; what turns out to be gone is reported then
            return set(jobs)
        found = jobs.keys() & self.picture.jobs.keys()
        missing = sorted(jobs.keys() - found)
        results = await asyncio.gather(*(asyncio.to_thread(self.records.result, job) for job in missing))
        for job, result in zip(missing, results, strict=True):
            if result.phase or result.problem:
                found.add(job)
                self.picture.forget(job)
                self.carry_out([AddOutputs(endings.of_record(job, result), result.outputs)])
            else:
                self.picture.clear(job)
        self.carry_out(self.picture.judge(sorted(found), time.monotonic()))
        return found

    # -- seeing ----------------------------------------------------------------------------------------------------

    async def _watch_jobs(self) -> None:
        async for seen in watch(
            self.client, self.job_kind, Job, SELECTOR, on_trouble=self._trouble("jobs"), lenient=True
        ):
            now = time.monotonic()
            if isinstance(seen, ListSnapshot):
                self._listed(self.picture.jobs_listed(seen.items, now))
            else:
                self.carry_out(self.picture.job_changed(seen.object, seen.type == "DELETED", now))

    async def _watch_pods(self) -> None:
        async for seen in watch(
            self.client, self.pod_kind, Pod, SELECTOR, on_trouble=self._trouble("pods"), lenient=True
        ):
            now = time.monotonic()
            if isinstance(seen, ListSnapshot):
                self._listed(self.picture.pods_listed(seen.items, now))
            else:
                self.carry_out(self.picture.pod_changed(seen.object, seen.type == "DELETED", now))

    def _listed(self, steps: Iterable[Step]) -> None:
        if self.picture.whole:
            self.synced.set()
        self.carry_out(steps)

    def _trouble(self, what: str) -> Callable[[str], None]:
        def note(message: str) -> None:
            self.trouble[what] = message

        return note

    async def _sweep_for_ever(self) -> None:
        await self.synced.wait()
        while True:
            await asyncio.sleep(_SWEEP)
            self.carry_out(self.picture.look(time.monotonic(), datetime.now(UTC)))

    # -- carrying out ----------------------------------------------------------------------------------------------

    def carry_out(self, steps: Iterable[Step]) -> None:
        """Begin each step; what needs a request is a task of its own."""
        for step in steps:
            match step:
                case Report():
                    self._report(step.completion)
                case AddOutputs():
                    self._spawn(self._report_with_outputs(step.completion, step.listed))
                case Check():
                    self._spawn(self._check(step.completion, step.pod))
                case Delete():
                    self._spawn(self._delete(step.job))
                case LookUp():
                    self._spawn(self._look_up(step.job))
                case LookWhy():
                    self._spawn(self._look_why(step.job))

    def _report(self, completion: Completion) -> None:
        self.picture.clear(completion.job)
        self._progress.pop(completion.job, None)
        self._ended.put_nowait(completion)

    async def _check(self, completion: Completion, pod: Pod | None) -> None:
        """Report an end after a look for the runner's own record, or after the log of the Pod was saved."""
        job = completion.job
        if completion.state is AttemptState.LOST:
            result = await self._recorded(job)
            if result.problem or result.phase not in ("", "stopped"):
                await self._report_with_outputs(endings.of_record(job, result), result.outputs)
                return
        elif pod is not None:
            await self._save_log(job, pod)
        self._report(completion)
        if job in self.picture.jobs and not (pod and pod.ended):  # nothing of it may begin or go on
            await self._delete(job)

    async def _recorded(self, job: str) -> Result:
        """Return what the runner recorded of a Job; its end waits until that can be looked up."""
        pause = _RETRY
        while True:
            try:
                return await asyncio.to_thread(self.records.result, job)
            except Exception as error:
                report(log, "the record of a job could not be read, it will be tried again", error, job=job)
            await asyncio.sleep(pause)
            pause = doubled(pause, _LONGEST_RETRY)

    async def _report_with_outputs(self, completion: Completion, listed: bytes) -> None:
        """Report an end with what the Job stored, from the list in the store if the result has no room for all."""
        try:
            completion = await self._add_outputs(completion, listed)
        except Exception:
            log.exception("the outputs of a job could not be read", job=completion.job)
        self._report(completion)

    async def _add_outputs(self, completion: Completion, listed: bytes) -> Completion:
        job = completion.job
        places = self.picture.places(job)
        completion = endings.with_outputs(completion, listed, places)
        if len(completion.outputs) < completion.outputs_total:
            more = endings.with_outputs(completion, await asyncio.to_thread(self.records.outputs, job), places)
            completion = max(completion, more, key=lambda each: len(each.outputs))
        return completion

    async def _save_log(self, job: str, pod: Pod) -> None:
        try:
            content = await self.read_log(pod)
            await asyncio.to_thread(self.records.keep_log, job, content)
        except Exception as error:  # whatever it is, the end itself must be reported
            log.warning("the log of a job could not be saved", job=job, error=str(error))

    async def read_log(self, pod: Pod) -> bytes:
        """The log of the Pod's main container. Raises KubeError."""
        query = {"container": CONTAINER, "limitBytes": str(self.config.log_max)}
        return await self.client.send("GET", self.pod_kind.path(pod.metadata.name, "log"), query=query)

    async def _delete(self, name: str) -> None:
        """Delete the Job and its Pod; what follows is told by the watch, or here if it is not there."""
        while True:
            try:
                there = await self.client.delete(self.job_kind, name, {"propagationPolicy": "Background"})
                break
            except KubeError as error:
                log.warning("a job could not be deleted, it will be tried again", job=name, error=str(error))
            except Exception as error:
                report(log, "a job could not be deleted, it will be tried again", error, job=name)
            await asyncio.sleep(_RETRY)
        if not there:
            self.carry_out(self.picture.vanished(name))

    async def _look_up(self, name: str) -> None:
        """A Job that was made, but that no watch has shown."""
        with contextlib.suppress(KubeError):
            try:
                await self.client.get(self.job_kind, name)
            except KubeError as error:
                if error.status != 404:
                    raise
                self.carry_out(self.picture.vanished(name))

    async def _look_why(self, name: str) -> None:
        """A Job that gets no Pod: the controller tells why by an Event."""
        with contextlib.suppress(KubeError):
            fields = f"involvedObject.kind=Job,involvedObject.name={name},reason=FailedCreate"
            events = await self.client.list_objects(self.event_kind, fields=fields)
            if events and name not in self.picture.pods:
                self.end(name, troubles.pod_refused(name, str(events[-1].get("message", ""))))

    # -- what is told of a Job that goes on ------------------------------------------------------------------------

    def progress(self, name: str) -> str:
        """What the runner of a Job waits for, as far as its log has been looked at; asks for a newer look."""
        pod, now = self.picture.pods.get(name), time.monotonic()
        expected = name in self.picture.expected
        if not expected or pod is None or pod.status.phase != "Running" or self._loop is None:
            return ""
        looked, told = self._progress.get(name, (float("-inf"), ""))
        if now - looked > _LOOK:
            self._progress[name] = now, told
            self._loop.call_soon_threadsafe(lambda: self._spawn(self._look_into_log(name, pod)))
        return told

    async def _look_into_log(self, name: str, pod: Pod) -> None:
        query = {"container": CONTAINER, "tailLines": "1", "limitBytes": "2000"}
        with contextlib.suppress(KubeError):
            line = await self.client.send("GET", self.pod_kind.path(pod.metadata.name, "log"), query=query)
            told = line.decode("utf-8", "replace").partition("oscar: ")[2]
            self._progress[name] = time.monotonic(), plain(told, 300) if " yet: tried again until " in told else ""
