# SPDX-License-Identifier: Apache-2.0
"""The facts that travel along the way of one file, and the interfaces of the boxes on it.

Everything here is plain data or a protocol; see docs/architecture.md for the picture. Object keys are ``str`` in which
bytes that are not UTF-8 stand as surrogates (``errors="surrogateescape"``), so every key of a store round-trips.
Times are integers in nanoseconds since the epoch when they order revisions, and float seconds everywhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, BinaryIO, Protocol

from oscar_fedcloud.fdl import Service


class Via(StrEnum):
    """How an event reached us."""

    FAST = "fast"
    DURABLE = "durable"
    LISTING = "listing"
    POLL = "poll"
    HTTP = "http"
    REPLAY = "replay"


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


class EventOutcome(StrEnum):
    """What became of an event; the answer to "why did this file not run"."""

    MATCHED = "matched"
    NO_SERVICE = "no_service"
    FILTERED = "filtered"  # suffix or filter of every candidate service said no
    TOO_DEEP = "too_deep"  # chain of outputs longer than allowed
    BAD_KEY = "bad_key"  # cannot be staged: empty, "." or ".." path segment


@dataclass(frozen=True, slots=True)
class StorageEvent:
    """One object that appeared in a store, from a notification, a listing row or an HTTP body.

    provider: storage provider id as in FDL, e.g. ``minio.default``.
    revision: the provider's name for this content of this key; equal however the event reached us.
    order: nanoseconds; a larger order is a newer revision of the same key.
    size: bytes, or None when the event does not say. etag: without quotes, "" when unknown.
    depth: how many services stand between the first upload and this object.
    record: the one event record handed to the script as ``EVENT`` (a JSON object, as text in UTF-8).
    """

    provider: str
    bucket: str
    key: str
    revision: str
    order: int
    size: int | None = None
    etag: str = ""
    version_id: str = ""
    time: str = ""
    depth: int = 0
    via: Via = Via.DURABLE
    record: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Recording:
    """One event and the runs that it asks for, committed together."""

    event: StorageEvent
    services: tuple[str, ...]
    outcome: EventOutcome
    detail: str = ""  # e.g. which service filtered it


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


@dataclass(frozen=True, slots=True)
class Credential:
    """A key pair of one service, for its inputs and outputs only. ``secret`` never reaches a log."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """All that a launcher needs for one attempt.

    env: all variables that are no secret. constant: those of them that the service alone decides. secrets: storage
    keys, and secrets of the service. outputs: the places that it may write to, in the order of the service's outputs.
    """

    job: str
    service: Service
    service_revision: str
    script: bytes
    run: Run
    attempt: int
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    memory: int  # bytes
    cpu: float  # cores
    timeout: float  # seconds, 0 = none
    image: str = ""
    constant: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[OutputPlace, ...] = ()


class Launcher(Protocol):
    """Starts Jobs and tells how they ended. ``start`` is idempotent by Job name."""

    async def start(self, spec: JobSpec) -> None:
        """Start the Job, or adopt it when it already exists. Raises LaunchError when it cannot be started."""

    async def adopt(self, jobs: Mapping[str, tuple[OutputPlace, ...]]) -> set[str]:
        """Take up Jobs of an earlier life; returns those that exist (running or ended). Their completions follow.

        jobs: with where each may have written, for a launcher that has no more than a record left; () if unknown.
        """

    async def cancel(self, job: str) -> None:
        """End the Job; its Completion (CANCELLED) follows. Unknown names are ignored."""

    def completions(self) -> AsyncIterator[Completion]:
        """Each ended Job, once per life of the invoker, until ``acknowledge``."""

    async def acknowledge(self, job: str) -> None:
        """The ledger holds the completion: what the launcher kept of it may be removed."""

    def log(self, job: str, offset: int = 0) -> LogPart | None:
        """The Job's log behind an offset in bytes while the launcher still has it, else None."""

    def waiting(self, job: str) -> tuple[str, str] | None:
        """Return why a started Job does not run yet, as (code, detail), or None. From memory, without a request."""

    def progress(self, job: str) -> str:
        """Return what a Job waits for while it runs, e.g. a store that is away, or "". Called from threads."""

    async def collect(self, current: Mapping[str, str]) -> None:
        """Remove what was kept for revisions of services that are neither in ``current`` nor needed by a Job."""

    def health(self) -> dict[str, Any]:
        """Whether Jobs can be started and watched: ``{"ok": bool, "detail": str}``."""

    async def close(self) -> None:
        """Stop watching. Jobs go on."""


class LaunchError(Exception):
    """The launcher could not start a Job; counted as an infrastructure failure."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a rule, a listing or a poll is about: all keys of a bucket that start with ``prefix`` ("" = all)."""

    bucket: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a log in chunks.

    Attributes:
        end: the offset at which the log goes on behind it, None when that is not known before it is read.
    """

    chunks: Iterator[bytes]
    end: int | None


class Provider(Protocol):
    """All that is special about one store. Methods block, with time limits; they raise ProviderError."""

    id: str
    settle: int  # listings in a row that must agree on an object before it counts

    @property
    def polled(self) -> bool:
        """Whether objects are found by polling alone."""

    # objects

    def parse(self, body: bytes, via: Via = Via.DURABLE) -> list[StorageEvent]:
        """All records of a notification body. Raises BadEvent."""

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterable[StorageEvent]:
        """The current object of each key, as events (via LISTING). Keys that end in ``/`` are left out.

        after: only keys behind this one, in the order of their bytes. The listing begins there.
        limit: how many of them are wanted, so that the store is not asked for more; 0 = all.
        """

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        """The current object as an event, with its depth, or None."""

    def put(self, bucket: str, key: str, body: bytes, depth: int = 0) -> StorageEvent:
        """Store an object (bodies of HTTP events) and say what event it stands for."""

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        """Store ``size`` bytes of a file as an object."""

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        """The object's bytes in chunks, or None."""

    def why(self, bucket: str, key: str) -> str:
        """Return what the store itself knows to keep an object from being seen, such as a symbolic link, or ""."""

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object; False if there was none."""

    def older(self, bucket: str, before: float) -> Iterable[str]:
        """The keys of the objects that were last written before that time (s)."""

    def remove_many(self, bucket: str, keys: Sequence[str]) -> int:
        """Delete these objects; returns how many are gone. One that cannot be deleted does not keep the others."""

    def settled(self, event: StorageEvent) -> bool:
        """Whether nobody seems to write to this object any more."""

    # buckets, rules and keys

    def buckets(self) -> Sequence[str]:
        """The names of all buckets."""

    def ensure_bucket(self, bucket: str) -> bool:
        """Create the bucket if it is missing; True if it was."""

    def delete_bucket(self, bucket: str, data: bool) -> None:
        """Delete the bucket, with all its objects if ``data``."""

    def ensure_rules(self, bucket: str, prefixes: Sequence[str]) -> bool:
        """Make our notification rules of this bucket exactly these prefixes, leave those of others; True if changed."""

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        """A key with exactly the policy of this service; the known one when it still fits."""

    def key_problem(self) -> str:
        """Return why Jobs can have no key of their own here although they must, or ""."""

    def drop_credential(self, known: Credential) -> None:
        """Remove a service's key."""

    def rclone_env(self, remote: str, credential: Credential | None) -> dict[str, str]:
        """Environment ``RCLONE_CONFIG_<REMOTE>_*`` for the runner."""

    # standing

    def clock(self) -> float:
        """The store's own time, in seconds since the epoch."""

    def health(self) -> dict[str, Any]:
        """Whether the store answers: ``{"ok": bool, "detail": str}``."""


class BadEvent(Exception):
    """An event body that cannot be understood; it becomes a dead letter. The message says what is wrong.

    events: what could be understood of the body nevertheless.
    """

    def __init__(self, message: str, events: Sequence[StorageEvent] = ()) -> None:
        super().__init__(message)
        self.events = tuple(events)


class EventTooLarge(BadEvent):
    """An event has more bytes than the ledger holds for one; the message has both numbers."""


def digest(*parts: str) -> str:
    """A name of 20 characters (80 bits, hexadecimal) for a tuple of strings; the parts cannot run together."""
    whole = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.blake2b(whole.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()


def event_id(event: StorageEvent) -> str:
    """The identity of an event: one object revision, however often and by whatever way it is reported."""
    return digest(event.provider, event.bucket, event.key, event.revision)


def run_id(service: str, event: StorageEvent) -> str:
    """The identity of a run (law 2): 18 characters, of which the first 6 are those of its ``place_id``.

    So the runs of one key lie side by side in the ledger's index. The other 12 (48 bits) tell services and revisions
    apart.
    """
    revision = digest(service, event.provider, event.bucket, event.key, event.revision)
    return place_id(event.bucket, event.key) + revision[:12]


def place_id(bucket: str, key: str) -> str:
    """What the ids of all runs of a key begin with; few other keys share it."""
    return digest(bucket, key)[:6]


def object_id(service: str, event: StorageEvent) -> str:
    """The queue that a run stands in: runs of one service on one key go one at a time."""
    return digest(service, event.provider, event.bucket, event.key)


def job_name(service: str, run: str, attempt: int) -> str:
    """``<service>-<hash>-<attempt>``: at most 63 characters, as Kubernetes names must be."""
    return f"{service}-{run}-{attempt}"
