# SPDX-License-Identifier: Apache-2.0
"""What the launcher reads of Jobs and Pods; the rest of them is skipped while decoding."""

from __future__ import annotations

from datetime import datetime

import msgspec

PREFIX = "oscar.fedcloud.eu"
OUTPUTS = f"{PREFIX}/outputs"  # the annotation of a Job


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Of any object."""

    name: str
    uid: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None  # when it was, or is to be, gone


class JobAnnotations(msgspec.Struct, frozen=True):
    """What a Job of ours says beside its spec; the other annotations may be large."""

    outputs: str = msgspec.field(name=OUTPUTS, default="")  # where it may write, as JSON


class JobMetadata(Metadata, frozen=True, rename="camel"):
    """Of a Job."""

    annotations: JobAnnotations = JobAnnotations()


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that holds for an object, or does not."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Named(msgspec.Struct, frozen=True):
    """Any object, when only its name and labels matter."""

    metadata: Metadata


class JobStatus(msgspec.Struct, frozen=True):
    """How a Job stands."""

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
    """One of these, or nothing while it runs."""

    waiting: WaitingReason | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True):
    """How a container stands."""

    name: str
    image: str = ""
    state: ContainerState = ContainerState()


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How a Pod stands."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[Condition] = []
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What of a Pod's spec matters here."""

    node_name: str = ""
    active_deadline_seconds: int = 0


class Pod(msgspec.Struct, frozen=True):
    """A Pod of a Job."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def job(self) -> str:
        """The Job that it belongs to."""
        return self.metadata.labels.get("batch.kubernetes.io/job-name", "")

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status.phase in ("Succeeded", "Failed")


def condition(conditions: list[Condition], *types: str) -> Condition | None:
    """The first of these conditions that holds."""
    return next((each for each in conditions if each.type in types and each.status == "True"), None)
