# SPDX-License-Identifier: Apache-2.0
"""Problems that prevent a Pod from running, and the completions if they last too long. No I/O."""

from __future__ import annotations

from collections.abc import Collection

from oscar_fedcloud.domain.runs import AttemptState, Completion
from oscar_fedcloud.launchers.kubernetes.job_results import completion, not_started
from oscar_fedcloud.launchers.kubernetes.objects import ContainerStatus, Pod

_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageInspectError",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "InvalidImageName",
    }
)
_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def of_image(pod: Pod) -> str:
    """Return why an image of the Pod cannot be pulled, or ""."""
    found = _waiting(pod, _IMAGE)
    return f"image {found[0].image or '?'} cannot be pulled: {found[1]}" if found else ""


def of_container(pod: Pod) -> str:
    """Return why the node cannot create the Pod's container, or ""."""
    found = _waiting(pod, _CONTAINER)
    return found[1] if found else ""


def of_schedule(pod: Pod) -> str:
    """Return why the scheduler finds no node for the Pod, or "" if it has one or was not judged yet."""
    for each in pod.status.conditions:
        if each.type == "PodScheduled" and each.status == "False" and not pod.spec.node_name:
            return each.message or each.reason
    return ""


def waiting(pod: Pod) -> tuple[str, str]:
    """Return why a pending Pod does not run yet: a code of ``invocations/wait_reasons.py`` and the details."""
    if trouble := of_schedule(pod):
        return "no_node", trouble
    if trouble := of_image(pod) or of_container(pod):
        return "starting", trouble
    if not pod.spec.node_name:
        return "starting", "its Pod waits for the scheduler"
    return "starting", f"node {pod.spec.node_name} fetches the image and starts the container"


def image_failed(name: str, trouble: str) -> Completion:
    """Return the end of an attempt whose image was not pulled in time."""
    return completion(name, AttemptState.LAUNCH_FAILED, trouble)


def container_failed(name: str, trouble: str) -> Completion:
    """Return the end of an attempt whose container cannot be created."""
    if "runAsNonRoot" in trouble or "non-root" in trouble:
        why = f"{trouble} (the image's user is root: let the service choose run_as_user, or pod_security: baseline)"
        return completion(name, AttemptState.FAILED, f"the container could not be started: {why}")
    return not_started(name, trouble)


def schedule_failed(name: str, trouble: str) -> Completion:
    """Return the end of an attempt that was not scheduled in time."""
    return completion(name, AttemptState.LAUNCH_FAILED, f"cannot be scheduled: {trouble}")


def pod_refused(name: str, trouble: str) -> Completion:
    """Return the end of an attempt whose Pod the cluster rejects."""
    return completion(name, AttemptState.LAUNCH_FAILED, f"its Pod cannot be created: {trouble}")


def _waiting(pod: Pod, reasons: Collection[str]) -> tuple[ContainerStatus, str] | None:
    """Return the first container that waits for one of these reasons, and its message."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting and waiting.reason in reasons:
            return status, waiting.message or waiting.reason
    return None
