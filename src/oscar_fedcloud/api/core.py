# SPDX-License-Identifier: Apache-2.0
"""What the API needs of the rest of the daemon.

Methods without ``async`` answer from memory unless they say that they block; those are called in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, ParamSpec, Protocol, TypeVar

from oscar_fedcloud.config import Config
from oscar_fedcloud.dispatch.backlog import BacklogRow
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.explanations import Answers
from oscar_fedcloud.domain.runs import Run
from oscar_fedcloud.domain.services import Change, Declared, Plan
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.invocations.wait_reasons import Wait, Waiting
from oscar_fedcloud.launchers.port import LogPart
from oscar_fedcloud.ledger import Ledger

P = ParamSpec("P")
T = TypeVar("T")


class Store(Protocol):
    """What the API needs of a storage provider. All methods block."""

    @property
    def id(self) -> str:
        """Provider id, e.g. ``minio.default``."""

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterable[StorageEvent]:
        """The current object of each key behind ``after``, as events in the order of the keys' bytes.

        limit: how many of them are wanted, 0 = all. More may come.
        """

    def ensure_bucket(self, bucket: str) -> bool:
        """Create the bucket if it is missing; True if it was."""

    def buckets(self) -> Sequence[str]:
        """The names of all buckets."""

    def delete_bucket(self, bucket: str, data: bool) -> None:
        """Delete the bucket, with its objects if ``data``. Raises BucketMissing, BucketNotEmpty."""

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int) -> StorageEvent:
        """Store ``size`` bytes of the file as an object. Raises BucketMissing."""

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        """The object's bytes in chunks, or None."""

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object; False if there was none. Raises BucketMissing."""


class Changes(Protocol):
    """Changes of the declared services, one after another."""

    async def plan(self, change: Change) -> Plan:
        """What a change would do. Raises FdlError, Conflict, NotFound."""

    async def apply(self, change: Change) -> Plan:
        """Do it; the plan that was carried out. Raises as ``plan`` does, with nothing done."""

    async def rollback(self, name: str, revision: int | None) -> Plan:
        """Declare an earlier revision again (None = the one before). Raises NotFound, FdlError."""

    def revisions(self, name: str) -> list[dict[str, Any]]:
        """All revisions of a service, newest first. Raises NotFound. Blocks."""


class Requests(Protocol):
    """What people ask of jobs."""

    async def submit(
        self, service: str, body: bytes, *, encoded: bool = False, idempotency_key: str = "", delegated_id: str = ""
    ) -> Run:
        """Queue one run of the service for a body (or for the storage event in it) and return it, committed.

        encoded: files in the body come as base64. The same idempotency key gives the same run. Raises NotFound,
        NotStarted, BadEvent.
        """

    async def cancel(self, run_id: str) -> Run:
        """End a run. Raises NotFound, StateError."""

    async def retry(self, run_id: str) -> Run:
        """Queue a run again that did not succeed. Raises NotFound, StateError."""

    async def replay(self, run_id: str) -> Run:
        """Queue an ended run again. Raises NotFound, StateError."""

    async def replay_dead_letter(self, letter: int) -> int:
        """Record a dead letter's events, drop the letter, and say how many there were. Raises NotFound, BadEvent."""

    async def log(
        self, run_id: str, attempt: int | None, tail: int | None = None, offset: int | None = None
    ) -> LogPart | None:
        """An attempt's log (None = the latest attempt), or None.

        tail: only that many last lines. offset: only what is behind that many bytes.
        """

    async def why(self, bucket: str, key: str, service: str, limit: int, after: str) -> Answers:
        """What became of an object, for each service concerned ("" = all). Raises ValueError for a bad cursor."""


class Waits(Protocol):
    """Why jobs wait."""

    def of(self, runs: Sequence[Run]) -> Mapping[str, Wait]:
        """Why each of these runs does not run yet, by its id; from memory."""

    def progress(self, run: Run) -> str:
        """What holds up a running job, or ""."""

    def queued(self) -> Sequence[Waiting]:
        """The queued jobs by service and cause. Blocks. Raises LedgerUnavailable."""


class Core(Protocol):
    """The daemon as the API sees it."""

    @property
    def config(self) -> Config:
        """All settings."""

    @property
    def version(self) -> str:
        """Version of this software."""

    @property
    def ledger(self) -> Ledger:
        """Runs, events and dead letters. Its synchronous methods block."""

    @property
    def providers(self) -> Mapping[str, Store]:
        """Stores by provider id."""

    async def ask(self, store: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a blocking call to a store, in one of that store's threads. Raises ProviderError."""

    @property
    def tokens(self) -> Mapping[str, str]:
        """Service token -> service name, as it stands now."""

    def service(self, name: str) -> Declared | None:
        """A declared service."""

    def services(self) -> list[Declared]:
        """All declared services, by name."""

    @property
    def changes(self) -> Changes:
        """Changes of services."""

    @property
    def requests(self) -> Requests:
        """Requests about jobs."""

    @property
    def waits(self) -> Waits:
        """Why jobs wait."""

    def bucket_missing(self, provider: str, bucket: str) -> None:
        """A bucket turned out to be missing: the services that use it are not ready until it is made again."""

    def readiness(self) -> Mapping[str, Mapping[str, Any]]:
        """Each part of the daemon with ``ok`` and ``detail``. Blocks."""

    def task_restarts(self) -> Mapping[str, int]:
        """How often each long-lived task was begun again."""

    def counters(self) -> Mapping[str, int]:
        """What happened since start, beside what the ledger counts."""

    async def backlog(self) -> list[BacklogRow]:
        """Jobs that would start now if there were room, by what they ask for. Raises LedgerUnavailable."""
