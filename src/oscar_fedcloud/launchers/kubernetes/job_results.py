# SPDX-License-Identifier: Apache-2.0
"""Determine how an attempt ended and why, from the state of the cluster. No I/O.

The Pod is decisive as soon as it has ended; its Job follows shortly afterwards. ``LOST`` and ``LAUNCH_FAILED`` are
infrastructure failures, which are retried independently of the service's own retries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from oscar_fedcloud.domain.runs import AttemptState, Completion, OutputPlace
from oscar_fedcloud.launchers.kubernetes.objects import Job, Pod, Terminated, condition
from oscar_fedcloud.launchers.kubernetes.template import CONTAINER
from oscar_fedcloud.launchers.runner.outputs import parse_outputs
from oscar_fedcloud.launchers.runner.result import Result, failure_state, parse_result, plain, script_code

LIMITS = {"memory": "kubernetes", "cpu": "kubernetes request", "timeout": "kubernetes", "isolation": "pod"}
_REASON_MAX = 2000  # characters
_CLOCKS = 86400.0  # s by which a node's clock may be fast
GONE = "its Job was deleted from the cluster before it ended"
_REJECTED = ("UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory", "OutOfpods", "NodeAffinity", "Preempting")
_OWN_FAULT = ("exceeds the total limit", "exceeded its local ephemeral", "Usage of EmptyDir volume")  # of a kubelet
_NOT_STARTED = ("StartError", "ContainerCannotRun", "CreateContainerError", "RunContainerError")


def ending(name: str, job: Job | None, pod: Pod | None) -> Completion | None:
    """Return how the attempt ended, or None while it may continue."""
    if pod is not None and pod.ended:
        return _of_pod(name, pod)
    conditions = job.status.conditions if job else []
    if complete := condition(conditions, "Complete"):
        return completion(name, AttemptState.SUCCEEDED, "", 0, complete.last_transition_time)
    if failed := condition(conditions, "Failed"):
        if failed.reason == "DeadlineExceeded":
            return completion(name, AttemptState.TIMEOUT, f"ran longer than its timeout: {failed.message}")
        return lost(name, pod, failed.message)
    return None


def lost(name: str, pod: Pod | None, message: str = "") -> Completion:
    """Return the end of an attempt whose Pod vanished or can no longer report its end."""
    disruption = condition(pod.status.conditions, "DisruptionTarget") if pod else None
    node = f" on node {pod.spec.node_name}" if pod and pod.spec.node_name else ""
    why = (disruption.message or disruption.reason) if disruption else message
    return completion(name, AttemptState.LOST, f"its Pod{node} was lost{f': {why}' if why else ''}")


def of_record(name: str, record: Result) -> Completion:
    """Return the end that the runner recorded in the store, for an attempt that the cluster no longer shows."""
    return _of_runner(name, record, None)


def told_by(pod: Pod | None) -> Result:
    """Return the runner's result in the Pod's termination message, which only a started container has."""
    main = next((each for each in pod.status.container_statuses if each.name == CONTAINER), None) if pod else None
    ended = main.state.terminated if main else None
    if ended is None or ended.reason in _NOT_STARTED:
        return Result()
    return parse_result(ended.message.encode("utf-8", "replace"))


def places_of(job: Job | None) -> tuple[OutputPlace, ...]:
    """Return where a Job may write, from its annotation."""
    try:
        return tuple(msgspec.json.decode(job.metadata.annotations.outputs, type=list[OutputPlace])) if job else ()
    except msgspec.DecodeError:
        return ()


def with_outputs(ended: Completion, listed: bytes, places: Sequence[OutputPlace]) -> Completion:
    """Return the completion with the outputs that the runner listed."""
    return replace(ended, outputs=parse_outputs(listed, places))


def _of_pod(name: str, pod: Pod) -> Completion:
    main = next((each for each in pod.status.container_statuses if each.name == CONTAINER), None)
    ended = main.state.terminated if main else None
    result = told_by(pod)
    finished = ended.finished_at if ended else None
    if result.phase == "done" or (result.phase not in ("", "stopped") and ended and ended.reason != "OOMKilled"):
        return _of_runner(name, result, finished)
    if pod.status.phase == "Succeeded" and not result.problem:
        return completion(name, AttemptState.SUCCEEDED, "", 0, finished)
    if pod.status.reason == "DeadlineExceeded":
        timeout = f" of {pod.spec.active_deadline_seconds} s" if pod.spec.active_deadline_seconds else ""
        return completion(name, AttemptState.TIMEOUT, f"ran longer than its timeout{timeout}", None, finished)
    if pod.status.reason in _REJECTED:
        why = f"node {pod.spec.node_name} refused the Pod: {pod.status.message or pod.status.reason}"
        return completion(name, AttemptState.LAUNCH_FAILED, why, None, finished)
    if condition(pod.status.conditions, "DisruptionTarget"):
        return lost(name, pod)
    if pod.status.reason == "Evicted":
        own = any(words in pod.status.message for words in _OWN_FAULT)
        state = AttemptState.FAILED if own else AttemptState.LOST
        return completion(name, state, f"evicted from its node: {pod.status.message}", None, finished)
    if ended is None:
        return _before_start(name, pod)
    return _of_container(name, ended, result)


def _of_runner(name: str, result: Result, finished: datetime | None) -> Completion:
    phase = result.phase
    if result.problem:
        return completion(name, AttemptState.FAILED, result.problem, None, finished)
    if phase in ("", "stopped"):
        return completion(name, AttemptState.LOST, "the runner was ended from outside", None, finished)
    state = AttemptState.SUCCEEDED if phase == "done" else AttemptState(failure_state(phase, result.exit))
    reason = "" if phase == "done" else result.reason
    ended = completion(name, state, reason, script_code(phase, result.exit), finished)
    return replace(ended, outputs_total=result.total, summary=result.summary)


def _of_container(name: str, ended: Terminated, result: Result) -> Completion:
    """Return the end of a container whose runner did not report one, or whose report does not count."""
    if ended.reason == "OOMKilled":
        code = script_code(result.phase, result.exit)
        return completion(name, AttemptState.OOM, "used more than its memory limit", code, ended.finished_at)
    if ended.reason in _NOT_STARTED:
        return not_started(name, ended.message or ended.reason, ended.finished_at)
    if result.problem:
        return completion(name, AttemptState.FAILED, result.problem, None, ended.finished_at)
    why = f"the runner was ended from outside (exit code {ended.exit_code})"
    return completion(name, AttemptState.LOST, why, None, ended.finished_at)


def _before_start(name: str, pod: Pod) -> Completion:
    """Return the end of a Pod that failed before its main container ran."""
    for each in pod.status.init_container_statuses:
        if each.state.terminated and each.state.terminated.exit_code:
            told = each.state.terminated.message or each.state.terminated.reason
            why = f"rclone could not be copied into the Pod (exit code {each.state.terminated.exit_code}): {told}"
            return completion(name, AttemptState.LAUNCH_FAILED, why)
    return lost(name, pod, pod.status.message or pod.status.reason)


def not_started(name: str, message: str, finished: datetime | None = None) -> Completion:
    """Return the end of a container that could not be started, because of the image or of the infrastructure."""
    if "/bin/sh" in message and ("no such file" in message or "not found" in message):
        why = "the image has no /bin/sh, which every service needs"
        return completion(name, AttemptState.FAILED, why, None, finished)
    return completion(
        name, AttemptState.LAUNCH_FAILED, f"the container could not be started: {message}", None, finished
    )


def cancelled(name: str) -> Completion:
    """Return the end of a cancelled attempt."""
    return completion(name, AttemptState.CANCELLED, "cancelled")


def gone(name: str) -> Completion:
    """Return the end of an attempt whose Job vanished."""
    return completion(name, AttemptState.LOST, GONE)


def completion(
    name: str, state: AttemptState, reason: str, code: int | None = None, finished: datetime | None = None
) -> Completion:
    """Create a completion. Texts and times come from the cluster and from the Job, so they are validated."""
    ended = finished.timestamp() if finished else 0.0
    known = ended if 0 < ended < time.time() + _CLOCKS else None
    return Completion(name, state, code, plain(reason, _REASON_MAX), known, LIMITS)
