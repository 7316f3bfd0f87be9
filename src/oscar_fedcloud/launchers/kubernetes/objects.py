# SPDX-License-Identifier: Apache-2.0
"""The fields of Jobs and Pods that the launcher reads. All others are skipped while decoding."""

from __future__ import annotations

from datetime import datetime

import msgspec

PREFIX = "oscar.fedcloud.eu"
OUTPUTS = f"{PREFIX}/outputs"  # the annotation of a Job


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Metadata of any object."""

    name: str
    uid: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None  # when it is to be gone, with its grace period


class JobAnnotations(msgspec.Struct, frozen=True):
    """The launcher's own annotation of a Job; the others may be large."""

    outputs: str = msgspec.field(name=OUTPUTS, default="")  # where it may write, as JSON


class JobMetadata(Metadata, frozen=True, rename="camel"):
    """Metadata of a Job."""

    annotations: JobAnnotations = JobAnnotations()


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """A condition of an object."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Named(msgspec.Struct, frozen=True):
    """Any object of which only name and labels matter."""

    metadata: Metadata


class JobStatus(msgspec.Struct, frozen=True):
    """The status of a Job."""

    conditions: list[Condition] = []


class Job(msgspec.Struct, frozen=True):
    """A Job."""

    metadata: JobMetadata
    status: JobStatus = JobStatus()


class WaitingReason(msgspec.Struct, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Terminated(msgspec.Struct, frozen=True, rename="camel"):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class ContainerState(msgspec.Struct, frozen=True):
    """The state of a container: one of these, or neither while it runs."""

    waiting: WaitingReason | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True):
    """The status of a container."""

    name: str
    image: str = ""
    state: ContainerState = ContainerState()


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The status of a Pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[Condition] = []
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The used fields of a Pod's specification."""

    node_name: str = ""
    active_deadline_seconds: int = 0


class Pod(msgspec.Struct, frozen=True):
    """A Pod of a Job."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def job(self) -> str:
        """Return the Job that owns it."""
        return self.metadata.labels.get("batch.kubernetes.io/job-name", "")

    @property
    def ended(self) -> bool:
        """Return whether all its containers have ended."""
        return self.status.phase in ("Succeeded", "Failed")


def condition(conditions: list[Condition], *types: str) -> Condition | None:
    """Return the first condition of these types that is true."""
    return next((each for each in conditions if each.type in types and each.status == "True"), None)
