# SPDX-License-Identifier: Apache-2.0
"""Watch the launcher's Jobs and Pods, and execute the resulting steps until each expected Job has ended."""

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
from oscar_fedcloud.launchers.kubernetes import job_results, pod_problems
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

_SWEEP = 2.0  # s between checks for stuck Jobs
_LOOK = 5.0  # s between checks of a log for what its Job waits for
_RETRY, _LONGEST_RETRY = 2.0, 60.0  # s between attempts of required requests


class Watcher:
    """Executes the steps that ``picture`` decides. All methods belong to the event loop."""

    def __init__(self, client: KubeClient, config: KubernetesConfig, records: Records) -> None:
        self.client = client
        self.config = config
        self.records = records
        self.picture = Picture(config)
        self.job_kind = ResourceType("batch/v1", "jobs", config.namespace)
        self.pod_kind = ResourceType("v1", "pods", config.namespace)
        self.event_kind = ResourceType("v1", "events", config.namespace)
        self.synced = asyncio.Event()  # the picture is whole
        self.trouble: dict[str, str] = {}  # watched resource -> why the watch is interrupted
        self._ended: asyncio.Queue[Completion] = asyncio.Queue()
        self.tasks = Tasks()  # the watches, restarted when they fail
        self._tasks: set[asyncio.Task[None]] = set()  # steps for single Jobs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress: dict[str, tuple[float, str]] = {}  # Job -> (when its log was read, what it waits for)

    # -- life ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start watching, unless already started."""
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
        """Yield the completion of each expected Job."""
        while True:
            yield await self._ended.get()

    # -- what is expected ------------------------------------------------------------------------------------------

    def made(self, job: str) -> None:
        """Note that the Job exists."""
        self.execute(self.picture.made(job, time.monotonic()))

    def end(self, job: str, completion: Completion) -> None:
        """Delete the Job, and report this completion unless it ends otherwise before."""
        self.execute(self.picture.end(job, completion))

    async def find(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> set[str]:
        """Return those Jobs of a former process that exist or left a record. Their ends will be reported.

        jobs: Job -> where it may have written.
        """
        self.picture.adopt(jobs, time.monotonic())
        if not self.synced.is_set():  # the cluster does not answer; missing Jobs are reported later
            return set(jobs)
        found = jobs.keys() & self.picture.jobs.keys()
        missing = sorted(jobs.keys() - found)
        results = await asyncio.gather(*(asyncio.to_thread(self.records.result, job) for job in missing))
        for job, result in zip(missing, results, strict=True):
            if result.phase or result.problem:
                found.add(job)
                self.picture.forget(job)
                self.execute([AddOutputs(job_results.of_record(job, result), result.outputs)])
            else:
                self.picture.clear(job)
        self.execute(self.picture.judge(sorted(found), time.monotonic()))
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
                self.execute(self.picture.job_changed(seen.object, seen.type == "DELETED", now))

    async def _watch_pods(self) -> None:
        async for seen in watch(
            self.client, self.pod_kind, Pod, SELECTOR, on_trouble=self._trouble("pods"), lenient=True
        ):
            now = time.monotonic()
            if isinstance(seen, ListSnapshot):
                self._listed(self.picture.pods_listed(seen.items, now))
            else:
                self.execute(self.picture.pod_changed(seen.object, seen.type == "DELETED", now))

    def _listed(self, steps: Iterable[Step]) -> None:
        if self.picture.whole:
            self.synced.set()
        self.execute(steps)

    def _trouble(self, what: str) -> Callable[[str], None]:
        def note(message: str) -> None:
            self.trouble[what] = message

        return note

    async def _sweep_for_ever(self) -> None:
        await self.synced.wait()
        while True:
            await asyncio.sleep(_SWEEP)
            self.execute(self.picture.look(time.monotonic(), datetime.now(UTC)))

    # -- carrying out ----------------------------------------------------------------------------------------------

    def execute(self, steps: Iterable[Step]) -> None:
        """Execute each step. Steps that need a request run as tasks."""
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
        """Report a completion after checking for the runner's record, or after saving the log of the Pod."""
        job = completion.job
        if completion.state is AttemptState.LOST:
            result = await self._recorded(job)
            if result.problem or result.phase not in ("", "stopped"):
                await self._report_with_outputs(job_results.of_record(job, result), result.outputs)
                return
        elif pod is not None:
            await self._save_log(job, pod)
        self._report(completion)
        if job in self.picture.jobs and not (pod and pod.ended):  # nothing of it may start or continue
            await self._delete(job)

    async def _recorded(self, job: str) -> Result:
        """Return the runner's record of a Job. Retries until the store answers."""
        pause = _RETRY
        while True:
            try:
                return await asyncio.to_thread(self.records.result, job)
            except Exception as error:
                report(log, "the record of a job could not be read, it will be tried again", error, job=job)
            await asyncio.sleep(pause)
            pause = doubled(pause, _LONGEST_RETRY)

    async def _report_with_outputs(self, completion: Completion, listed: bytes) -> None:
        """Report a completion with the Job's outputs, from the list in the store if the result is incomplete."""
        try:
            completion = await self._add_outputs(completion, listed)
        except Exception:
            log.exception("the outputs of a job could not be read", job=completion.job)
        self._report(completion)

    async def _add_outputs(self, completion: Completion, listed: bytes) -> Completion:
        job = completion.job
        places = self.picture.places(job)
        completion = job_results.with_outputs(completion, listed, places)
        if len(completion.outputs) < completion.outputs_total:
            more = job_results.with_outputs(completion, await asyncio.to_thread(self.records.outputs, job), places)
            completion = max(completion, more, key=lambda each: len(each.outputs))
        return completion

    async def _save_log(self, job: str, pod: Pod) -> None:
        try:
            content = await self.read_log(pod)
            await asyncio.to_thread(self.records.keep_log, job, content)
        except Exception as error:  # the completion must be reported in any case
            log.warning("the log of a job could not be saved", job=job, error=str(error))

    async def read_log(self, pod: Pod) -> bytes:
        """Return the log of the Pod's main container. Raises KubeError."""
        query = {"container": CONTAINER, "limitBytes": str(self.config.log_max)}
        return await self.client.send("GET", self.pod_kind.path(pod.metadata.name, "log"), query=query)

    async def _delete(self, name: str) -> None:
        """Delete the Job and its Pod. The watch reports the rest, or this method if the Job does not exist."""
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
            self.execute(self.picture.vanished(name))

    async def _look_up(self, name: str) -> None:
        """Look up a created Job that no watch has shown."""
        with contextlib.suppress(KubeError):
            try:
                await self.client.get(self.job_kind, name)
            except KubeError as error:
                if error.status != 404:
                    raise
                self.execute(self.picture.vanished(name))

    async def _look_why(self, name: str) -> None:
        """Find out why a Job has no Pod, from the controller's Event."""
        with contextlib.suppress(KubeError):
            fields = f"involvedObject.kind=Job,involvedObject.name={name},reason=FailedCreate"
            events = await self.client.list_objects(self.event_kind, fields=fields)
            if events and name not in self.picture.pods:
                self.end(name, pod_problems.pod_refused(name, str(events[-1].get("message", ""))))

    # -- what is told of a Job that goes on ------------------------------------------------------------------------

    def progress(self, name: str) -> str:
        """Return what the runner of a Job waits for, as last read from its log, and schedule a new check."""
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
