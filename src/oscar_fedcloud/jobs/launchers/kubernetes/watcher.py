# SPDX-License-Identifier: Apache-2.0
"""Holds a picture of our Jobs and Pods by watching them, and reports the end of each Job that is expected to end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.jobs.launchers.kubernetes import endings, troubles
from oscar_fedcloud.jobs.launchers.kubernetes.objects import Job, Pod
from oscar_fedcloud.jobs.launchers.kubernetes.records import Records
from oscar_fedcloud.jobs.launchers.kubernetes.template import CONTAINER, SELECTOR, SERVICE_LABEL
from oscar_fedcloud.jobs.launchers.result import plain
from oscar_fedcloud.kube import Change, KubeClient, KubeError, Resource, Snapshot, watch
from oscar_fedcloud.model import AttemptState, Completion, OutputPlace
from oscar_fedcloud.unexpected import report

log = structlog.get_logger(__name__)

_SWEEP = 2.0  # s between looks at Jobs that do not come to their end
_SETTLE = 2.0  # s that the end of a Pod may be shown after that of its Job
_UNSEEN = 60.0  # s after which a Job that was made, and that no watch showed, is looked up
_DEAD = 15.0  # s after which a Pod that should have gone is taken for lost with its node
_LOOK = 5.0  # s between looks into a log for what its Job waits for
_RETRY = 2.0  # s between tries of a request that must come through


class Watcher:
    """All methods belong to the event loop. ``expected`` are the Jobs whose end is still to be reported."""

    def __init__(self, client: KubeClient, config: KubernetesConfig, records: Records) -> None:
        self.client = client
        self.config = config
        self.records = records
        self.job_kind = Resource("batch/v1", "jobs", config.namespace)
        self.pod_kind = Resource("v1", "pods", config.namespace)
        self.event_kind = Resource("v1", "events", config.namespace)
        self.jobs: dict[str, Job] = {}
        self.pods: dict[str, Pod] = {}  # by Job
        self.places: dict[str, tuple[OutputPlace, ...]] = {}  # where the expected Jobs may write, as the daemon knows
        self.expected: dict[str, float] = {}  # -> since when it is certain that the Job was made, or infinity
        self.synced = asyncio.Event()  # the picture is whole
        self._listed: set[str] = set()
        self._since: dict[tuple[str, str], float] = {}  # (Job, what) -> when it was first seen
        self._placed: dict[str, float] = {}  # service -> when a Pod of it last had a node
        self._ending: dict[str, Completion] = {}  # being deleted -> what to report then
        self._ended: asyncio.Queue[Completion] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._progress: dict[str, tuple[float, str]] = {}  # Job -> when its log was looked at, and what it says
        self.trouble: dict[str, str] = {}  # what is watched -> why that does not work now

    # -- life ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start watching; once."""
        self._loop = asyncio.get_running_loop()
        if not self._tasks:
            for work in (self._watch_jobs(), self._watch_pods(), self._sweep_for_ever()):
                self._spawn(work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            report(
                log,
                "a task of the watcher failed",
                error,
            )
            self.trouble["watcher"] = str(error)

    async def close(self) -> None:
        """Stop watching."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def completions(self) -> AsyncIterator[Completion]:
        """The end of each expected Job."""
        while True:
            yield await self._ended.get()

    # -- what is expected ------------------------------------------------------------------------------------------

    def expect(self, job: str, places: tuple[OutputPlace, ...] = ()) -> None:
        """A Job of that name is about to be made. places: where it may write."""
        self.expected[job] = float("inf")
        self.places[job] = places

    def made(self, job: str) -> None:
        """It was made, or was there before."""
        if job in self.expected:
            self.expected[job] = time.monotonic()
            if job in self._ending:  # asked for while it was being made
                self._spawn(self._delete(job))
            self._judge(job)

    def forget(self, job: str) -> None:
        """It was not made, or its end has been recorded."""
        self.expected.pop(job, None)
        self._ending.pop(job, None)

    async def find(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> set[str]:
        """Those of an earlier life that exist, or existed and left a record; their end will be reported.

        jobs: with where each may have written. A Job that is still there says so itself.
        """
        for job, places in jobs.items():
            self.expected[job] = time.monotonic()
            self.places.setdefault(job, places)
        if not self.synced.is_set():  # it does not answer now; what turns out to be gone is reported then
            return set(jobs)
        found = {job for job in jobs if job in self.jobs}
        missing = sorted(jobs.keys() - found)
        results = await asyncio.gather(*(asyncio.to_thread(self.records.result, job) for job in missing))
        for job, result in zip(missing, results, strict=True):
            if result.phase or result.problem:
                found.add(job)
                self.forget(job)
                self._spawn(self._report_with_outputs(endings.of_record(job, result), result.outputs))
            else:
                self.forget(job)
        for job in found:
            self._judge(job)
        return found

    def end(self, job: str, completion: Completion) -> None:
        """Delete the Job, and report this as its end unless it comes to another one before."""
        if job in self.expected and job not in self._ending:
            self._ending[job] = completion
            if self.expected[job] < float("inf"):
                self._spawn(self._delete(job))

    # -- the picture -----------------------------------------------------------------------------------------------

    async def _watch_jobs(self) -> None:
        async for seen in watch(
            self.client, self.job_kind, Job, SELECTOR, on_trouble=self._trouble("jobs"), lenient=True
        ):
            if isinstance(seen, Snapshot):
                before, self.jobs = self.jobs, {job.metadata.name: job for job in seen.items}
                first = self._list("jobs")
                for name in [name for name in self.expected if name not in self.jobs]:
                    if name in before or (first and self.expected[name] < float("inf")):
                        self._vanished(name)
                for name in tuple(self.expected):
                    self._judge(name)
            else:
                self._job_changed(seen)

    def _job_changed(self, seen: Change[Job]) -> None:
        name = seen.object.metadata.name
        if seen.type == "DELETED":
            self.jobs.pop(name, None)
            if name in self.expected and not self._judge(name):
                self._vanished(name)
        else:
            self.jobs[name] = seen.object
            self._judge(name)

    async def _watch_pods(self) -> None:
        async for seen in watch(
            self.client, self.pod_kind, Pod, SELECTOR, on_trouble=self._trouble("pods"), lenient=True
        ):
            if isinstance(seen, Snapshot):
                self.pods = {pod.job: pod for pod in seen.items}
                self._list("pods")
                for name in tuple(self.expected):
                    self._judge(name)
            else:
                self._pod_changed(seen)

    def _pod_changed(self, seen: Change[Pod]) -> None:
        name, pod = seen.object.job, seen.object
        if pod.spec.node_name and not pod.ended:
            self._placed[pod.metadata.labels.get(SERVICE_LABEL, "")] = time.monotonic()
        self.pods[name] = pod
        self._judge(name)
        if seen.type == "DELETED" and name not in self.expected:
            del self.pods[name]

    def _list(self, what: str) -> bool:
        """Note that a list has come; whether it is the first one."""
        first = what not in self._listed
        self._listed.add(what)
        if len(self._listed) == 2:
            self.synced.set()
        return first

    def _trouble(self, what: str) -> Callable[[str], None]:
        def note(message: str) -> None:
            self.trouble[what] = message

        return note

    # -- ends ------------------------------------------------------------------------------------------------------

    def _judge(self, name: str) -> bool:
        """Report the Job's end if the picture shows it; whether it does. What cannot be judged ends that Job alone."""
        try:
            return name in self.expected and self._find_end(name)
        except Exception as error:
            log.exception("what the cluster shows of a job cannot be understood", job=name)
            why = f"the cluster shows it in a form that cannot be understood: {error!r}"
            self._report(endings.completion(name, AttemptState.FAILED, why))
            return True

    def _find_end(self, name: str) -> bool:
        job, pod = self.jobs.get(name), self.pods.get(name)
        completion = endings.ending(name, job, pod)
        if completion is None:
            return False
        if completion.state is AttemptState.LOST and not (pod and pod.ended) and not self._lasts(name, "end", _SETTLE):
            return False
        self._conclude(completion)
        return True

    def _lasts(self, name: str, what: str, seconds: float) -> bool:
        """Whether something has been so for that long; it counts from the first time that this is asked."""
        now = time.monotonic()
        return now - self._since.setdefault((name, what), now) >= seconds

    def _conclude(self, completion: Completion) -> None:
        """Report an end, after what must be saved or asked before."""
        pod = self.pods.get(completion.job)
        if completion.outputs_total:
            self.forget(completion.job)
            self._spawn(self._report_with_outputs(completion, endings.told_by(pod).outputs))
        elif completion.state is AttemptState.LOST or (pod and _left_nothing(pod)):
            self.forget(completion.job)
            self._spawn(self._conclude_carefully(completion, pod))
        else:
            self._report(completion)

    async def _conclude_carefully(self, completion: Completion, pod: Pod | None) -> None:
        job = completion.job
        if completion.state is AttemptState.LOST:
            result = await asyncio.to_thread(self.records.result, job)
            if result.problem or result.phase not in ("", "stopped"):
                await self._report_with_outputs(endings.of_record(job, result), result.outputs)
                return
        elif pod is not None:
            await self._save_log(job, pod)
        self._report(completion)
        if job in self.jobs and not (pod and pod.ended):  # nothing of it may begin or go on
            await self._delete(job)

    async def _report_with_outputs(self, completion: Completion, listed: bytes) -> None:
        """Report an end with what the Job stored, from the list in the store if the result has no room for all."""
        job = completion.job
        try:
            completion = await self._add_outputs(completion, listed)
        except Exception:
            log.exception("the outputs of a job could not be read", job=job)
        self._report(completion)

    async def _add_outputs(self, completion: Completion, listed: bytes) -> Completion:
        job = completion.job
        places = endings.places_of(self.jobs.get(job)) or self.places.get(job, ())
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

    def _report(self, completion: Completion) -> None:
        job = completion.job
        self.forget(job)
        self.places.pop(job, None)
        self._progress.pop(job, None)
        for what in ("end", "image", "container", "node", "pod"):
            self._since.pop((job, what), None)
        if job not in self.jobs:
            self.pods.pop(job, None)
        self._ended.put_nowait(completion)

    # -- what is told of a Job that goes on -------------------------------------------------------------------------

    def waiting(self, name: str) -> tuple[str, str] | None:
        """Why an expected Job does not run yet: a code and the details."""
        if name not in self.expected:
            return None
        pod = self.pods.get(name)
        if pod is None:
            return "starting", "its Pod is being made"
        return troubles.waiting(pod) if pod.status.phase in ("", "Pending") else None

    def progress(self, name: str) -> str:
        """What the runner of a Job waits for, as far as its log has been looked at; asks for a newer look."""
        pod, now = self.pods.get(name), time.monotonic()
        if name not in self.expected or pod is None or pod.status.phase != "Running" or self._loop is None:
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

    # -- ends that nothing shows --------------------------------------------------------------------------------------

    def _vanished(self, name: str) -> None:
        self._conclude(self._ending.get(name) or endings.gone(name))

    async def _delete(self, name: str) -> None:
        """Delete the Job and its Pod; what follows is told by the watch, or here if it is not there."""
        while True:
            try:
                there = await self.client.delete(self.job_kind, name, {"propagationPolicy": "Background"})
                break
            except KubeError as error:
                log.warning("a job could not be deleted, it will be tried again", job=name, error=str(error))
                await asyncio.sleep(_RETRY)
        if not there and name in self.expected:
            self._vanished(name)

    # -- what does not come to its end -----------------------------------------------------------------------------

    async def _sweep_for_ever(self) -> None:
        await self.synced.wait()
        while True:
            await asyncio.sleep(_SWEEP)
            self._note_placed()
            for name in tuple(self.expected):
                if not self._judge(name) and name not in self._ending:
                    self._look_at(name)

    def _note_placed(self) -> None:
        now = time.monotonic()
        for pod in self.pods.values():
            if pod.spec.node_name and not pod.ended:
                self._placed[pod.metadata.labels.get(SERVICE_LABEL, "")] = now

    def _look_at(self, name: str) -> None:
        job, pod = self.jobs.get(name), self.pods.get(name)
        if job is None:
            if time.monotonic() - self.expected[name] > _UNSEEN:
                self._spawn(self._look_up(name))
        elif pod is None:
            if self._lasts(name, "pod", self.config.image_timeout):
                self._spawn(self._look_why(name))
        elif pod.metadata.deletion_timestamp is not None:
            if (datetime.now(UTC) - pod.metadata.deletion_timestamp).total_seconds() > _DEAD:
                self._conclude(endings.lost(name, pod, "it was to end, but its node does not answer"))
        elif pod.status.phase == "Pending":
            self._look_at_pending(name, pod)

    def _look_at_pending(self, name: str, pod: Pod) -> None:
        config = self.config
        if (trouble := troubles.of_image(pod)) and self._lasts(name, "image", config.image_timeout):
            self.end(name, troubles.image_failed(name, trouble))
        elif (trouble := troubles.of_container(pod)) and self._lasts(name, "container", config.image_timeout):
            self.end(name, troubles.container_failed(name, trouble))
        elif (trouble := troubles.of_schedule(pod)) and config.schedule_timeout:
            placed = self._placed.get(pod.metadata.labels.get(SERVICE_LABEL, ""), 0.0)
            waits = time.monotonic() - placed > config.schedule_timeout
            if self._lasts(name, "node", config.schedule_timeout) and waits:
                self.end(name, troubles.schedule_failed(name, trouble))

    async def _look_up(self, name: str) -> None:
        """A Job that was made, but that no watch has shown."""
        with contextlib.suppress(KubeError):
            try:
                await self.client.get(self.job_kind, name)
            except KubeError as error:
                if error.status != 404:
                    raise
                if name in self.expected:
                    self._vanished(name)

    async def _look_why(self, name: str) -> None:
        """A Job that gets no Pod: the controller tells why by an Event."""
        self._since.pop((name, "pod"), None)
        with contextlib.suppress(KubeError):
            fields = f"involvedObject.kind=Job,involvedObject.name={name},reason=FailedCreate"
            events = await self.client.list_objects(self.event_kind, fields=fields)
            if events and name not in self.pods:
                self.end(name, troubles.pod_refused(name, str(events[-1].get("message", ""))))


def _left_nothing(pod: Pod) -> bool:
    """Whether its main container ran and was ended so that the runner could neither tell nor store its log."""
    main = next((each for each in pod.status.container_statuses if each.name == CONTAINER), None)
    ended = main.state.terminated if main else None
    return ended is not None and ended.exit_code != 0 and not endings.told_by(pod).phase
