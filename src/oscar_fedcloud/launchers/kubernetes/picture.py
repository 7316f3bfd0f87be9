# SPDX-License-Identifier: Apache-2.0
"""What the cluster shows of our Jobs, and what follows from it. Nothing is sent or awaited here.

Each thing that is seen is answered by steps, which the watcher carries out. ``now`` is the monotonic clock in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.runs import AttemptState, Completion, OutputPlace
from oscar_fedcloud.launchers.kubernetes import job_results as endings
from oscar_fedcloud.launchers.kubernetes import pod_problems as troubles
from oscar_fedcloud.launchers.kubernetes.objects import Job, Pod
from oscar_fedcloud.launchers.kubernetes.template import CONTAINER, SERVICE_LABEL

log = structlog.get_logger(__name__)

_SETTLE = 2.0  # s that the end of a Pod may be shown after that of its Job
_UNSEEN = 60.0  # s after which a Job that was made, and that no watch showed, is looked up
_DEAD = 15.0  # s after which a Pod that should have gone is taken for lost with its node
_NOT_MADE = float("inf")


@dataclass(frozen=True, slots=True)
class Report:
    """Tell this end."""

    completion: Completion


@dataclass(frozen=True, slots=True)
class AddOutputs:
    """Tell this end with what the Job stored. listed: the part of the list that its result has room for."""

    completion: Completion
    listed: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """Tell this end after a look for the runner's own record, or after the log of this Pod was saved."""

    completion: Completion
    pod: Pod | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the Job."""

    job: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask for the Job, which no watch has shown."""

    job: str


@dataclass(frozen=True, slots=True)
class LookWhy:
    """Ask why the Job gets no Pod."""

    job: str


Step = Report | AddOutputs | Check | Delete | LookUp | LookWhy


class Picture:
    """``expected`` are the Jobs whose end is still to be told: once a step tells it, a Job is not expected any more."""

    def __init__(self, config: KubernetesConfig) -> None:
        self.config = config
        self.jobs: dict[str, Job] = {}
        self.pods: dict[str, Pod] = {}  # by Job
        self.expected: dict[str, float] = {}  # -> since when it is certain that the Job was made, or infinity
        self._places: dict[str, tuple[OutputPlace, ...]] = {}  # where the expected Jobs may write, as the daemon knows
        self._listed: set[str] = set()
        self._since: dict[tuple[str, str], float] = {}  # (Job, what) -> when it was first seen
        self._placed: dict[str, float] = {}  # service -> when a Pod of it last had a node
        self._ending: dict[str, Completion] = {}  # being deleted -> what to tell then

    @property
    def whole(self) -> bool:
        """Whether Jobs and Pods have been listed."""
        return len(self._listed) == 2

    # -- what is expected ------------------------------------------------------------------------------------------

    def expect(self, job: str, places: tuple[OutputPlace, ...] = ()) -> None:
        """A Job of that name is about to be made. places: where it may write."""
        self.expected[job] = _NOT_MADE
        self._places[job] = places

    def made(self, job: str, now: float) -> list[Step]:
        """It was made, or was there before."""
        if job not in self.expected:
            return []
        self.expected[job] = now
        asked: list[Step] = [Delete(job)] if job in self._ending else []  # while it was being made
        return asked + self._judge(job, now)

    def adopt(self, jobs: Mapping[str, tuple[OutputPlace, ...]], now: float) -> None:
        """These were made in an earlier life, and may have written there. A Job that is still there says so itself."""
        for job, places in jobs.items():
            self.expected[job] = now
            self._places.setdefault(job, places)

    def forget(self, job: str) -> None:
        """It was not made, or its end is told."""
        self.expected.pop(job, None)
        self._ending.pop(job, None)

    def clear(self, job: str) -> None:
        """Its end has been told: nothing more is kept of it than what the cluster shows."""
        self.forget(job)
        self._places.pop(job, None)
        for what in ("end", "image", "container", "node", "pod"):
            self._since.pop((job, what), None)
        if job not in self.jobs:
            self.pods.pop(job, None)

    def end(self, job: str, completion: Completion) -> list[Step]:
        """Delete the Job, and tell this as its end unless it comes to another one before."""
        if job not in self.expected or job in self._ending:
            return []
        self._ending[job] = completion
        return [Delete(job)] if self.expected[job] < _NOT_MADE else []

    def places(self, job: str) -> tuple[OutputPlace, ...]:
        """Where the Job may write."""
        return endings.places_of(self.jobs.get(job)) or self._places.get(job, ())

    def waiting(self, job: str) -> tuple[str, str] | None:
        """Why an expected Job does not run yet: a code and the details."""
        if job not in self.expected:
            return None
        pod = self.pods.get(job)
        if pod is None:
            return "starting", "its Pod is being made"
        return troubles.waiting(pod) if pod.status.phase in ("", "Pending") else None

    # -- what is seen ----------------------------------------------------------------------------------------------

    def jobs_listed(self, jobs: Iterable[Job], now: float) -> list[Step]:
        """These are all Jobs. One that was there, or that was made before the first list, has vanished."""
        before, self.jobs = self.jobs, {job.metadata.name: job for job in jobs}
        first = "jobs" not in self._listed
        self._listed.add("jobs")
        steps: list[Step] = []
        for name in [name for name in self.expected if name not in self.jobs]:
            if name in before or (first and self.expected[name] < _NOT_MADE):
                steps += self.vanished(name)
        return steps + self.judge(tuple(self.expected), now)

    def job_changed(self, job: Job, deleted: bool, now: float) -> list[Step]:
        """One Job is new, has changed or was deleted."""
        name = job.metadata.name
        if not deleted:
            self.jobs[name] = job
            return self._judge(name, now)
        self.jobs.pop(name, None)
        return self._judge(name, now) or self.vanished(name)

    def pods_listed(self, pods: Iterable[Pod], now: float) -> list[Step]:
        """These are all Pods."""
        self.pods = {pod.job: pod for pod in pods}
        self._listed.add("pods")
        return self.judge(tuple(self.expected), now)

    def pod_changed(self, pod: Pod, deleted: bool, now: float) -> list[Step]:
        """One Pod is new, has changed or was deleted. What it showed last counts, as long as its Job is expected."""
        self._note_placed(pod, now)
        self.pods[pod.job] = pod
        steps = self._judge(pod.job, now)
        if deleted and pod.job not in self.expected:
            self.pods.pop(pod.job, None)
        return steps

    def vanished(self, name: str) -> list[Step]:
        """The Job is not in the cluster any more."""
        if name not in self.expected:
            return []
        return [self._conclude(self._ending.get(name) or endings.gone(name))]

    def look(self, now: float, moment: datetime) -> list[Step]:
        """Look at everything, in particular at Jobs that do not come to their end. moment: the time of day."""
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
        """Tell the ends of those of the Jobs that have ended."""
        return [step for name in names for step in self._judge(name, now)]

    def _judge(self, name: str, now: float) -> list[Step]:
        """What follows if the Job has ended, else nothing. What cannot be judged ends that Job alone."""
        if name not in self.expected:
            return []
        try:
            return self._ended(name, now)
        except Exception as error:
            log.exception("what the cluster shows of a job cannot be understood", job=name)
            self.forget(name)
            why = f"the cluster shows it in a form that cannot be understood: {error!r}"
            return [Report(endings.completion(name, AttemptState.FAILED, why))]

    def _ended(self, name: str, now: float) -> list[Step]:
        pod = self.pods.get(name)
        completion = endings.ending(name, self.jobs.get(name), pod)
        if completion is None:
            return []
        unsure = completion.state is AttemptState.LOST and not (pod and pod.ended)
        return [] if unsure and not self._lasts(name, "end", _SETTLE, now) else [self._conclude(completion)]

    def _conclude(self, completion: Completion) -> Step:
        """How an end is told, after what must be saved or asked before."""
        pod = self.pods.get(completion.job)
        self.forget(completion.job)
        if completion.outputs_total:
            return AddOutputs(completion, endings.told_by(pod).outputs)
        if completion.state is AttemptState.LOST or (pod and _left_nothing(pod)):
            return Check(completion, pod)
        return Report(completion)

    def _lasts(self, name: str, what: str, seconds: float, now: float) -> bool:
        """Whether something has been so for that long; it counts from the first time that this is asked."""
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
            lost = endings.lost(name, pod, "it was to end, but its node does not answer")
            return [self._conclude(lost)] if dead else []
        return self._look_at_pending(name, pod, now) if pod.status.phase == "Pending" else []

    def _without_pod(self, name: str, now: float) -> list[Step]:
        if not self._lasts(name, "pod", self.config.image_timeout, now):
            return []
        self._since.pop((name, "pod"), None)
        return [LookWhy(name)]

    def _look_at_pending(self, name: str, pod: Pod, now: float) -> list[Step]:
        config = self.config
        if (trouble := troubles.of_image(pod)) and self._lasts(name, "image", config.image_timeout, now):
            return self.end(name, troubles.image_failed(name, trouble))
        if (trouble := troubles.of_container(pod)) and self._lasts(name, "container", config.image_timeout, now):
            return self.end(name, troubles.container_failed(name, trouble))
        if (trouble := troubles.of_schedule(pod)) and config.schedule_timeout:
            placed = self._placed.get(pod.metadata.labels.get(SERVICE_LABEL, ""), 0.0)
            waits = now - placed > config.schedule_timeout
            if self._lasts(name, "node", config.schedule_timeout, now) and waits:
                return self.end(name, troubles.schedule_failed(name, trouble))
        return []


def _left_nothing(pod: Pod) -> bool:
    """Whether its main container ran and was ended so that the runner could neither tell nor store its log."""
    main = next((each for each in pod.status.container_statuses if each.name == CONTAINER), None)
    ended = main.state.terminated if main else None
    return ended is not None and ended.exit_code != 0 and not endings.told_by(pod).phase
