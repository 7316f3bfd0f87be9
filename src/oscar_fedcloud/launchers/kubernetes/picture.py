# SPDX-License-Identifier: Apache-2.0
"""The observed state of the launcher's Jobs, and the steps that follow from it. No I/O.

Each observation returns steps, which the watcher executes. ``now`` is the monotonic clock in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.runs import AttemptState, Completion, OutputPlace
from oscar_fedcloud.launchers.kubernetes import job_results, pod_problems
from oscar_fedcloud.launchers.kubernetes.objects import Job, Pod
from oscar_fedcloud.launchers.kubernetes.template import CONTAINER, SERVICE_LABEL

log = structlog.get_logger(__name__)

_SETTLE = 2.0  # s by which the end of a Pod may be observed after that of its Job
_UNSEEN = 60.0  # s after which a created Job that no watch has shown is looked up
_DEAD = 15.0  # s after which a Pod that should be gone counts as lost with its node
_NOT_MADE = float("inf")


@dataclass(frozen=True, slots=True)
class Report:
    """Report this completion."""

    completion: Completion


@dataclass(frozen=True, slots=True)
class AddOutputs:
    """Report this completion with the Job's outputs. listed: the part of their list in its result."""

    completion: Completion
    listed: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """Report this completion after checking for the runner's record, or after saving the log of this Pod."""

    completion: Completion
    pod: Pod | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the Job."""

    job: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look up a Job that no watch has shown."""

    job: str


@dataclass(frozen=True, slots=True)
class LookWhy:
    """Find out why the Job has no Pod."""

    job: str


Step = Report | AddOutputs | Check | Delete | LookUp | LookWhy


class Picture:
    """The observed Jobs and Pods. ``expected`` are the Jobs whose end has not been reported yet."""

    def __init__(self, config: KubernetesConfig) -> None:
        self.config = config
        self.jobs: dict[str, Job] = {}
        self.pods: dict[str, Pod] = {}  # by Job
        self.expected: dict[str, float] = {}  # -> since when the Job certainly exists, or infinity
        self._places: dict[str, tuple[OutputPlace, ...]] = {}  # where the expected Jobs may write
        self._listed: set[str] = set()
        self._since: dict[tuple[str, str], float] = {}  # (Job, problem) -> when it was first seen
        self._placed: dict[str, float] = {}  # service -> when one of its Pods last had a node
        self._ending: dict[str, Completion] = {}  # Job being deleted -> completion to report then

    @property
    def whole(self) -> bool:
        """Return whether Jobs and Pods have been listed."""
        return len(self._listed) == 2

    # -- what is expected ------------------------------------------------------------------------------------------

    def expect(self, job: str, places: tuple[OutputPlace, ...] = ()) -> None:
        """Expect a Job that is about to be created. places: where it may write."""
        self.expected[job] = _NOT_MADE
        self._places[job] = places

    def made(self, job: str, now: float) -> list[Step]:
        """Note that the Job exists."""
        if job not in self.expected:
            return []
        self.expected[job] = now
        asked: list[Step] = [Delete(job)] if job in self._ending else []  # requested while it was being created
        return asked + self._judge(job, now)

    def adopt(self, jobs: Mapping[str, tuple[OutputPlace, ...]], now: float) -> None:
        """Expect Jobs of a former process, with where they may have written."""
        for job, places in jobs.items():
            self.expected[job] = now
            self._places.setdefault(job, places)

    def forget(self, job: str) -> None:
        """Stop expecting the Job."""
        self.expected.pop(job, None)
        self._ending.pop(job, None)

    def clear(self, job: str) -> None:
        """Drop everything about a reported Job except its observed state."""
        self.forget(job)
        self._places.pop(job, None)
        for what in ("end", "image", "container", "node", "pod"):
            self._since.pop((job, what), None)
        if job not in self.jobs:
            self.pods.pop(job, None)

    def end(self, job: str, completion: Completion) -> list[Step]:
        """Delete the Job, and report this completion unless it ends otherwise before."""
        if job not in self.expected or job in self._ending:
            return []
        self._ending[job] = completion
        return [Delete(job)] if self.expected[job] < _NOT_MADE else []

    def places(self, job: str) -> tuple[OutputPlace, ...]:
        """Return where the Job may write."""
        return job_results.places_of(self.jobs.get(job)) or self._places.get(job, ())

    def waiting(self, job: str) -> tuple[str, str] | None:
        """Return why an expected Job does not run yet, as (code, detail), or None."""
        if job not in self.expected:
            return None
        pod = self.pods.get(job)
        if pod is None:
            return "starting", "its Pod is being made"
        return pod_problems.waiting(pod) if pod.status.phase in ("", "Pending") else None

    # -- what is seen ----------------------------------------------------------------------------------------------

    def jobs_listed(self, jobs: Iterable[Job], now: float) -> list[Step]:
        """Set all Jobs. An expected Job that existed before and is not listed has vanished."""
        before, self.jobs = self.jobs, {job.metadata.name: job for job in jobs}
        first = "jobs" not in self._listed
        self._listed.add("jobs")
        steps: list[Step] = []
        for name in [name for name in self.expected if name not in self.jobs]:
            if name in before or (first and self.expected[name] < _NOT_MADE):
                steps += self.vanished(name)
        return steps + self.judge(tuple(self.expected), now)

    def job_changed(self, job: Job, deleted: bool, now: float) -> list[Step]:
        """Apply a change of a Job."""
        name = job.metadata.name
        if not deleted:
            self.jobs[name] = job
            return self._judge(name, now)
        self.jobs.pop(name, None)
        return self._judge(name, now) or self.vanished(name)

    def pods_listed(self, pods: Iterable[Pod], now: float) -> list[Step]:
        """Set all Pods."""
        self.pods = {pod.job: pod for pod in pods}
        self._listed.add("pods")
        return self.judge(tuple(self.expected), now)

    def pod_changed(self, pod: Pod, deleted: bool, now: float) -> list[Step]:
        """Apply a change of a Pod. The last state of a deleted Pod is kept while its Job is expected."""
        self._note_placed(pod, now)
        self.pods[pod.job] = pod
        steps = self._judge(pod.job, now)
        if deleted and pod.job not in self.expected:
            self.pods.pop(pod.job, None)
        return steps

    def vanished(self, name: str) -> list[Step]:
        """Conclude a Job that no longer exists."""
        if name not in self.expected:
            return []
        return [self._conclude(self._ending.get(name) or job_results.gone(name))]

    def look(self, now: float, moment: datetime) -> list[Step]:
        """Check everything, in particular Jobs that are stuck. moment: the time of day."""
        for pod in self.pods.values():
            self._note_placed(pod, now)
        steps: list[Step] = []
        for name in tuple(self.expected):
            found = self._judge(name, now)
            steps += found if found or name in self._ending else self._look_at(name, now, moment)
        return steps

    def _note_placed(self, pod: Pod, now: float) -> None:
        if pod.spec.node_name and not pod.ended:
            self._placed[pod.metadata.labels.get(SERVICE_LABEL, "")] = now

    # -- ends ------------------------------------------------------------------------------------------------------

    def judge(self, names: Sequence[str], now: float) -> list[Step]:
        """Return the steps for those Jobs that have ended."""
        return [step for name in names for step in self._judge(name, now)]

    def _judge(self, name: str, now: float) -> list[Step]:
        """Return the steps if the Job has ended. A state that cannot be interpreted fails only this Job."""
        if name not in self.expected:
            return []
        try:
            return self._ended(name, now)
        except Exception as error:
            log.exception("what the cluster shows of a job cannot be understood", job=name)
            self.forget(name)
            why = f"the cluster shows it in a form that cannot be understood: {error!r}"
            return [Report(job_results.completion(name, AttemptState.FAILED, why))]

    def _ended(self, name: str, now: float) -> list[Step]:
        pod = self.pods.get(name)
        completion = job_results.ending(name, self.jobs.get(name), pod)
        if completion is None:
            return []
        unsure = completion.state is AttemptState.LOST and not (pod and pod.ended)
        return [] if unsure and not self._lasts(name, "end", _SETTLE, now) else [self._conclude(completion)]

    def _conclude(self, completion: Completion) -> Step:
        """Return the step that reports a completion, including what must be saved or checked before."""
        pod = self.pods.get(completion.job)
        self.forget(completion.job)
        if completion.outputs_total:
            return AddOutputs(completion, job_results.told_by(pod).outputs)
        if completion.state is AttemptState.LOST or (pod and _left_nothing(pod)):
            return Check(completion, pod)
        return Report(completion)

    def _lasts(self, name: str, what: str, seconds: float, now: float) -> bool:
        """Return whether a problem has lasted that long since the first call."""
        return now - self._since.setdefault((name, what), now) >= seconds

    # -- what does not come to its end -----------------------------------------------------------------------------

    def _look_at(self, name: str, now: float, moment: datetime) -> list[Step]:
        job, pod = self.jobs.get(name), self.pods.get(name)
        if job is None:
            return [LookUp(name)] if now - self.expected[name] > _UNSEEN else []
        if pod is None:
            return self._without_pod(name, now)
        if pod.metadata.deletion_timestamp is not None:
            dead = (moment - pod.metadata.deletion_timestamp).total_seconds() > _DEAD
            lost = job_results.lost(name, pod, "it was to end, but its node does not answer")
            return [self._conclude(lost)] if dead else []
        return self._look_at_pending(name, pod, now) if pod.status.phase == "Pending" else []

    def _without_pod(self, name: str, now: float) -> list[Step]:
        if not self._lasts(name, "pod", self.config.image_timeout, now):
            return []
        self._since.pop((name, "pod"), None)
        return [LookWhy(name)]

    def _look_at_pending(self, name: str, pod: Pod, now: float) -> list[Step]:
        config = self.config
        if (trouble := pod_problems.of_image(pod)) and self._lasts(name, "image", config.image_timeout, now):
            return self.end(name, pod_problems.image_failed(name, trouble))
        if (trouble := pod_problems.of_container(pod)) and self._lasts(name, "container", config.image_timeout, now):
            return self.end(name, pod_problems.container_failed(name, trouble))
        if (trouble := pod_problems.of_schedule(pod)) and config.schedule_timeout:
            placed = self._placed.get(pod.metadata.labels.get(SERVICE_LABEL, ""), 0.0)
            waits = now - placed > config.schedule_timeout
            if self._lasts(name, "node", config.schedule_timeout, now) and waits:
                return self.end(name, pod_problems.schedule_failed(name, trouble))
        return []


def _left_nothing(pod: Pod) -> bool:
    """Return whether the main container was killed so that the runner could store neither result nor log."""
    main = next((each for each in pod.status.container_statuses if each.name == CONTAINER), None)
    ended = main.state.terminated if main else None
    return ended is not None and ended.exit_code != 0 and not job_results.told_by(pod).phase
