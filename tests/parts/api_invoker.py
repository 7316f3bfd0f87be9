# SPDX-License-Identifier: Apache-2.0
"""The real invoker under the API, on a store and a launcher in memory; its tasks are not started.

Nothing runs by itself: tests say when an attempt begins and ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import httpx

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.folder_repository import FolderRepository
from oscar_fedcloud.config import Config
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.events import EventOutcome, Origin, Recording, StorageEvent
from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, job_name, run_id
from oscar_fedcloud.domain.services import Declared
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.launchers.port import LogPart
from oscar_fedcloud.ledger import Ledger, RunTransition
from oscar_fedcloud.storage.errors import BucketMissing, BucketNotEmpty

PASSWORD = "correct horse"

# Keys that a store can hold and that break careless code.
ODD_KEYS = [
    "a b+c%d.jpg",
    "ünï/cödé ☃",
    "new\nline",
    "quote'\"$(id)",
    b"not \xff\xfe utf-8".decode("utf-8", "surrogateescape"),
    "?query=#fragment&x",
]

Client = Callable[..., httpx.AsyncClient]


class MemoryStore:
    """Buckets and objects in a dictionary."""

    id = "minio.default"
    settle = 1
    polled = False

    def __init__(self) -> None:
        self.content: dict[str, dict[str, bytes]] = {}
        self.listed = 0  # rows of listings so far

    def buckets(self) -> Sequence[str]:
        return list(self.content)

    def ensure_bucket(self, bucket: str) -> bool:
        missing = bucket not in self.content
        self.content.setdefault(bucket, {})
        return missing

    def delete_bucket(self, bucket: str, data: bool) -> None:
        if self._bucket(bucket) and not data:
            raise BucketNotEmpty(f"bucket {bucket} is not empty")
        del self.content[bucket]

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        self._bucket(bucket)[key] = file.read(size)
        return event(bucket, key, self.content[bucket][key])

    def put(self, bucket: str, key: str, body: bytes, depth: int = 0) -> StorageEvent:
        self.content.setdefault(bucket, {})[key] = body
        return event(bucket, key, body)

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        body = self.content.get(bucket, {}).get(key)
        return None if body is None else event(bucket, key, body)

    def why(self, bucket: str, key: str) -> str:
        return ""

    def parse(self, body: bytes, via: Origin = Origin.DURABLE) -> list[StorageEvent]:
        return [event("pictures", "in/replayed.jpg")]

    def drop_credential(self, known: Credential) -> None:
        """No key was made."""

    def health(self) -> dict[str, Any]:
        return {"ok": True, "detail": ""}

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterator[StorageEvent]:
        content = self._bucket(where.bucket)
        for key in sorted(content, key=as_bytes):
            if key.startswith(where.prefix) and as_bytes(key) > as_bytes(after):
                self.listed += 1
                yield event(where.bucket, key, content[key])

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        body = self.content.get(bucket, {}).get(key)
        return None if body is None else iter([body[:3], body[3:]])

    def remove(self, bucket: str, key: str) -> bool:
        return self._bucket(bucket).pop(key, None) is not None

    def _bucket(self, bucket: str) -> dict[str, bytes]:
        if bucket not in self.content:
            raise BucketMissing(f"bucket {bucket} does not exist at storage provider {self.id}")
        return self.content[bucket]


def as_bytes(key: str) -> bytes:
    """A key as stores sort it."""
    return key.encode("utf-8", "surrogateescape")


def event(bucket: str, key: str, body: bytes = b"x", revision: str = "") -> StorageEvent:
    """The event of an object."""
    etag = digest(body.decode("latin-1"))
    return StorageEvent("minio.default", bucket, key, revision or etag, 1_700_000_000_000_000_000, len(body), etag)


class LogLauncher:
    """Keeps the logs of Jobs, and what holds them up."""

    def __init__(self) -> None:
        self.logs: dict[str, bytes] = {}
        self.held_up: dict[str, str] = {}
        self.cancelled: Callable[[str], object] = lambda job: None

    def log(self, job: str, offset: int = 0) -> LogPart | None:
        body = self.logs.get(job)
        return None if body is None else LogPart(iter([body[offset:]]), max(offset, len(body)))

    def waiting(self, job: str) -> tuple[str, str] | None:
        return None

    def progress(self, job: str) -> str:
        return self.held_up.get(job, "")

    async def cancel(self, job: str) -> None:
        self.cancelled(job)

    def health(self) -> dict[str, Any]:
        return {"ok": True, "detail": ""}

    async def close(self) -> None:
        """Nothing is open."""


class ReadyAtOnce:
    """Makes every service ready as soon as it is declared, as if its store had been prepared."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def services_changed(self) -> None:
        for name in self.catalogue.entries:
            self.catalogue.set_state(name, "ready", "")


class ApiInvoker(Invoker):
    """The invoker, and what tests do to it and see of it.

    Attributes:
        parts: the readiness of the parts that tests pretend, by name; None for the real one
        looks: how often the readiness was asked for
        submitted: service, body, idempotency key and delegated id of each job that was submitted
        encoded: whether its body was said to be base64
        missing: buckets that turned out to be missing
    """

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self.store = MemoryStore()
        self.jobs = LogLauncher()
        repository = FolderRepository(config.data / "services")
        super().__init__(config, ledger, {"minio.default": self.store}, self.jobs, repository)  # type: ignore[arg-type, dict-item]
        self.jobs.cancelled = lambda job: self.end(self._run_of(job), RunState.CANCELLED)
        self.changes.add_listener(ReadyAtOnce(self.catalogue))
        self.parts: dict[str, dict[str, Any]] | None = {"ledger": {"ok": True, "detail": ""}}
        self.looks = 0
        self.submitted: list[tuple[str, bytes, str, str]] = []
        self.encoded: list[bool] = []
        self.missing: list[tuple[str, str]] = []
        self._submit = self.invocations.submit
        self.invocations.submit = self._noted_submit  # type: ignore[method-assign]
        self.reconciler.bucket_missing = self._note_missing  # type: ignore[method-assign]

    async def _noted_submit(
        self, service: str, body: bytes, *, encoded: bool = False, idempotency_key: str = "", delegated_id: str = ""
    ) -> Run:
        run = await self._submit(
            service, body, encoded=encoded, idempotency_key=idempotency_key, delegated_id=delegated_id
        )
        self.submitted.append((service, body, idempotency_key, delegated_id))
        self.encoded.append(encoded)
        return run

    def _note_missing(self, provider: str, bucket: str) -> None:
        self.missing.append((provider, bucket))

    def services(self) -> list[Declared]:
        """Return all declared services, by name."""
        return self.catalogue.all_declared()

    def readiness(self) -> dict[str, dict[str, Any]]:
        """Return what tests pretend, or the real readiness."""
        self.looks += 1
        return super().readiness() if self.parts is None else self.parts

    async def record(self, service: str, found: StorageEvent) -> Run:
        """Put a run into the ledger."""
        await self.ledger.record(Recording(found, (service,), EventOutcome.MATCHED))
        return self._run(run_id(service, found))

    def begin(self, run: Run, log: bytes | None = None) -> Run:
        """Begin an attempt."""
        job = job_name(run.service, run.id, run.attempts + 1)
        for started, attempt in self.ledger.begin([(run.id, job)], [], time.time()):
            self.dispatcher.slots.take(started, attempt)
        if log is not None:
            self.jobs.logs[job] = log
        return self._run(run.id)

    def end(self, run: Run, state: RunState) -> Run:
        """End the attempt that runs."""
        job = job_name(run.service, run.id, run.attempts)
        outcome = AttemptState.SUCCEEDED if state is RunState.SUCCEEDED else AttemptState.FAILED
        self.ledger.finish(job, Completion(job, outcome, 0, limits={"memory": "watched"}), RunTransition(state))
        self.dispatcher.slots.free(job)
        return self._run(run.id)

    def _run_of(self, job: str) -> Run:
        found = self.ledger.attempt_by_job(job)
        assert found is not None
        return found[0]

    def _run(self, run: str) -> Run:
        found = self.ledger.run(run)
        assert found is not None
        return found
