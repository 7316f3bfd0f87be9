# SPDX-License-Identifier: Apache-2.0
"""Runs, their attempts, and how these end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.identity import digest, place_id


class RunState(StrEnum):
    """Where a run stands. Only QUEUED and RUNNING can still change by themselves."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # no attempt left: a dead letter that can be retried
    SUPERSEDED = "superseded"  # a newer revision of the same key took its place
    INPUT_GONE = "input_gone"
    CANCELLED = "cancelled"


class AttemptState(StrEnum):
    """How one attempt (one Job) stands or ended."""

    STARTING = "starting"  # committed, launcher not yet asked or answer unknown
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the script's own exit code
    TIMEOUT = "timeout"
    OOM = "oom"
    STAGING_FAILED = "staging_failed"
    INPUT_CHANGED = "input_changed"
    INPUT_GONE = "input_gone"
    LOST = "lost"  # node or process vanished: infrastructure
    LAUNCH_FAILED = "launch_failed"  # launcher could not start it: infrastructure
    CANCELLED = "cancelled"


INFRASTRUCTURE = frozenset({AttemptState.LOST, AttemptState.LAUNCH_FAILED})


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the ledger: one service that shall process one revision of one object."""

    id: str
    service: str
    event: StorageEvent
    state: RunState
    reason: str
    attempts: int  # attempts begun so far; the next one is attempts + 1
    script_failures: int  # counted against the service's retry
    infra_failures: int  # counted apart
    not_before: float
    created: float
    finished: float | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that an attempt wrote to a store."""

    provider: str
    bucket: str
    key: str
    size: int | None = None  # bytes, None when the runner could not tell
    etag: str = ""  # without quotes, "" when unknown


@dataclass(frozen=True, slots=True)
class OutputPlace:
    """Where an attempt may write: one output of its service, in the bucket that its event decides."""

    provider: str
    bucket: str
    folder: str = ""  # without a slash at its end; "" is the whole bucket


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
    outputs_total: int = 0  # how many objects it wrote
    policy: str = ""  # what it was begun under: see ``jobs.policy``


@dataclass(frozen=True, slots=True)
class Completion:
    """What a launcher reports of a Job that ended."""

    job: str
    state: AttemptState
    exit_code: int | None = None
    reason: str = ""
    finished: float | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[StoredObject, ...] = ()  # what the attempt wrote, in the order in which it was written
    outputs_total: int = 0  # how many objects it wrote; more than ``outputs`` has when there were very many
    summary: str = ""  # the first line of the script's ``.summary``, at most 80 characters


def run_id(service: str, event: StorageEvent) -> str:
    """The identity of a run (law 2): 18 characters, of which the first 6 are those of its ``place_id``.

    So the runs of one key lie side by side in the ledger's index. The other 12 (48 bits) tell services and revisions
    apart.
    """
    revision = digest(service, event.provider, event.bucket, event.key, event.revision)
    return place_id(event.bucket, event.key) + revision[:12]


def object_id(service: str, event: StorageEvent) -> str:
    """The queue that a run stands in: runs of one service on one key go one at a time."""
    return digest(service, event.provider, event.bucket, event.key)


def job_name(service: str, run: str, attempt: int) -> str:
    """``<service>-<hash>-<attempt>``: at most 63 characters, as Kubernetes names must be."""
    return f"{service}-{run}-{attempt}"
