# SPDX-License-Identifier: Apache-2.0
"""Runs, their attempts and the ends of attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.identity import digest, place_id


class RunState(StrEnum):
    """The state of a run. Only QUEUED and RUNNING change without a request."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # no attempts left; can be retried
    SUPERSEDED = "superseded"  # replaced by a newer revision of the same key
    INPUT_GONE = "input_gone"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """The state of one attempt (one Job)."""

    STARTING = "starting"  # committed; the launcher was not called yet or its result is unknown
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the script's own exit code
    TIMEOUT = "timeout"
    OOM = "oom"
    STAGING_FAILED = "staging_failed"
    INPUT_CHANGED = "input_changed"
    INPUT_GONE = "input_gone"
    LOST = "lost"  # node or process vanished: infrastructure
    LAUNCH_FAILED = "launch_failed"  # the launcher could not start it: infrastructure
    CANCELLED = "cancelled"


INFRASTRUCTURE = frozenset({AttemptState.LOST, AttemptState.LAUNCH_FAILED})


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the ledger: one service that processes one revision of one object."""

    id: str
    service: str
    event: StorageEvent
    state: RunState
    reason: str
    attempts: int  # attempts started so far; the next one is attempts + 1
    script_failures: int  # counted against the service's retry limit
    infra_failures: int  # counted separately
    not_before: float
    created: float
    finished: float | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that an attempt wrote to a store."""

    provider: str
    bucket: str
    key: str
    size: int | None = None  # bytes; None if the runner could not determine it
    etag: str = ""  # without quotes; empty if unknown


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """A place that an attempt may write to: one output of its service, in the bucket given by its event."""

    provider: str
    bucket: str
    folder: str = ""  # without a trailing slash; empty means the whole bucket


@dataclass(frozen=True, slots=True)
class Attempt:
    """One Job of a run."""

    run_id: str
    number: int
    job: str  # "<service>-<hash>-<number>"
    state: AttemptState
    exit_code: int | None
    reason: str
    started: float
    finished: float | None
    limits: Mapping[str, str] = field(default_factory=dict)  # limit -> how it was enforced
    summary: str = ""  # the first line of the script's ``.summary``, at most 80 characters
    outputs_total: int = 0  # number of objects written
    policy: str = ""  # the policy it was started with: see ``dispatch.policy``


@dataclass(frozen=True, slots=True)
class Completion:
    """What a launcher reports of a Job that ended."""

    job: str
    state: AttemptState
    exit_code: int | None = None
    reason: str = ""
    finished: float | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[StoredObject, ...] = ()  # what the attempt wrote, in the order of writing
    outputs_total: int = 0  # number of objects written; larger than ``outputs`` if there were very many
    summary: str = ""  # the first line of the script's ``.summary``, at most 80 characters


def run_id(service: str, event: StorageEvent) -> str:
    """Return the identity of a run (law 2): 18 characters, of which the first 6 are those of its ``place_id``.

    The runs of one key are therefore adjacent in the ledger's index. The other 12 characters (48 bits) distinguish
    services and revisions.
    """
    revision = digest(service, event.provider, event.bucket, event.key, event.revision)
    return place_id(event.bucket, event.key) + revision[:12]


def object_id(service: str, event: StorageEvent) -> str:
    """Return the queue of a run. Runs of one service on one key run one at a time."""
    return digest(service, event.provider, event.bucket, event.key)


def job_name(service: str, run: str, attempt: int) -> str:
    """Return ``<service>-<hash>-<attempt>``, at most 63 characters, as Kubernetes requires."""
    return f"{service}-{run}-{attempt}"
