# SPDX-License-Identifier: Apache-2.0
"""A small daemon for the API's tests: the real FDL functions and ledger, all else in memory."""

from __future__ import annotations

import asyncio
import io
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import httpx

from oscar_fedcloud.config import Config
from oscar_fedcloud.dispatch.backlog import BacklogRow, backlog_rows
from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent, Via
from oscar_fedcloud.domain.explanations import Answer, Answers
from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, job_name, run_id
from oscar_fedcloud.domain.services import Change, Conflict, Declared, NotFound, Plan, PlanItem
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.fdl import FdlError, Service, diff_documents, find_loops, loop_problem, to_document
from oscar_fedcloud.invocations.wait_reasons import ServiceFacts, SiteFacts, Wait, Waiting, summary, waits_of
from oscar_fedcloud.launchers.port import LogPart
from oscar_fedcloud.ledger import Ledger, Verdict
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

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int) -> StorageEvent:
        self._bucket(bucket)[key] = file.read(size)
        return event(bucket, key, self.content[bucket][key])

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


def hidden(service: Service) -> dict[str, Any]:
    """The service's document without its secrets."""
    return to_document(service, secrets=False)


class MemoryCore:
    """What the API needs, with services in memory and the real ledger."""

    version = "2.0.0"

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self.config = config
        self.ledger = ledger
        self.store = MemoryStore()
        self.providers = {"minio.default": self.store}
        self.declared: dict[str, Declared] = {}
        self.history: dict[str, list[Service]] = {}  # all revisions of a service, oldest first
        self.parts: dict[str, dict[str, Any]] = {"ledger": {"ok": True, "detail": ""}}
        self.looks = 0
        self.submitted: list[tuple[str, bytes, str, str]] = []
        self.encoded: list[bool] = []
        self.logs: dict[tuple[str, int], bytes] = {}
        self.missing: list[tuple[str, str]] = []
        self.running = 0
        self.max_running = 4
        self.held_up: dict[str, str] = {}  # run -> what holds up its job
        self.changes = self.requests = self.waits = self

    async def ask(self, store: str, call: Any, *args: Any) -> Any:
        assert store in self.providers
        return await asyncio.to_thread(call, *args)

    @property
    def tokens(self) -> dict[str, str]:
        return {one.service.token: name for name, one in self.declared.items()}

    def service(self, name: str) -> Declared | None:
        return self.declared.get(name)

    def services(self) -> list[Declared]:
        return [self.declared[name] for name in sorted(self.declared)]

    async def plan(self, change: Change) -> Plan:
        names = [service.name for service in change.documents]
        after = {name: one.service for name, one in self.declared.items()} | {one.name: one for one in change.documents}
        if loops := [loop for loop in find_loops(after.values()) if not loop.breakable]:
            places = {service.name: f"services[{index}]" for index, service in enumerate(change.documents)}
            raise FdlError(loop_problem(loop, places[next(n for n in loop.services if n in places)]) for loop in loops)
        items = [self._wanted(service, change.expect_revision) for service in change.documents]
        pruned = [name for name in self.declared if change.prune and name not in names]
        items += [self._unwanted(name, change.expect_revision) for name in (*change.names, *pruned)]
        return Plan(tuple(items))

    def _wanted(self, service: Service, expected: int | None) -> PlanItem:
        current = self.declared.get(service.name)
        revision = current.revision if current else 0
        if expected not in (None, revision):
            raise Conflict(f"service {service.name} stands at revision {revision}, the request expects {expected}")
        if current is None:
            changes = diff_documents(None, to_document(service))
            return PlanItem(service.name, "create", None, hidden(service), tuple(changes), 1)
        if not service.token:
            service = replace(service, token=current.service.token)
        changes = diff_documents(to_document(current.service), to_document(service))
        before, after = hidden(current.service), hidden(service)
        if not changes:
            return PlanItem(service.name, "unchanged", before, after, (), revision)
        return PlanItem(service.name, "update", before, after, tuple(changes), revision + 1)

    def _unwanted(self, name: str, expected: int | None) -> PlanItem:
        current = self.declared.get(name)
        if current is None:
            return PlanItem(name, "absent", None, None)
        if expected not in (None, current.revision):
            raise Conflict(f"service {name} stands at revision {current.revision}, the request expects {expected}")
        return PlanItem(name, "delete", hidden(current.service), None)

    async def apply(self, change: Change) -> Plan:
        plan = await self.plan(change)
        documents = {service.name: service for service in change.documents}
        for item in plan.items:
            if item.action == "delete":
                if change.data == "delete":
                    for source in self.declared[item.name].service.input:
                        self.store.delete_bucket(source.bucket, True)
                del self.declared[item.name], self.history[item.name]
            elif item.action in ("create", "update"):
                self._declare(documents[item.name], item.revision)
        return plan

    def _declare(self, service: Service, revision: int) -> None:
        old = self.declared.get(service.name)
        token = service.token or (old.service.token if old else secrets.token_hex(32))
        service = replace(service, token=token)
        self.declared[service.name] = Declared(service, revision)
        self.history.setdefault(service.name, []).append(service)

    async def rollback(self, name: str, revision: int | None) -> Plan:
        history = self.history[name]
        wanted = len(history) - 1 if revision is None else revision
        if not 1 <= wanted <= len(history):
            raise NotFound(f"service {name} has no revision {wanted}")
        return await self.apply(Change(documents=(history[wanted - 1],)))

    def revisions(self, name: str) -> list[dict[str, Any]]:
        return [{"revision": number, "changed": 1.0} for number in range(len(self.history[name]), 0, -1)]

    async def submit(
        self, service: str, body: bytes, *, encoded: bool = False, idempotency_key: str = "", delegated_id: str = ""
    ) -> Run:
        self.submitted.append((service, body, idempotency_key, delegated_id))
        self.encoded.append(encoded)
        self.store.ensure_bucket("internal")
        name = digest(service, idempotency_key or str(len(self.submitted)))
        stored = self.store.put_file("internal", f"{service}/{name}", io.BytesIO(body), len(body))
        return await self.record(service, replace(stored, revision=name, via=Via.HTTP))

    async def record(self, service: str, found: StorageEvent) -> Run:
        """Put a run into the ledger."""
        await self.ledger.record(Recording(found, (service,), EventOutcome.MATCHED))
        return self._run(run_id(service, found))

    def begin(self, run: Run, log: bytes | None = None) -> Run:
        """Start an attempt."""
        number = run.attempts + 1
        self.ledger.begin([(run.id, job_name(run.service, run.id, number))], [], time.time())
        if log is not None:
            self.logs[run.id, number] = log
        return self._run(run.id)

    def end(self, run: Run, state: RunState) -> Run:
        """End the running attempt."""
        job = job_name(run.service, run.id, run.attempts)
        outcome = AttemptState.SUCCEEDED if state is RunState.SUCCEEDED else AttemptState.FAILED
        self.ledger.finish(job, Completion(job, outcome, 0, limits={"memory": "watched"}), Verdict(state))
        return self._run(run.id)

    async def cancel(self, run: str) -> Run:
        found = self._run(run)
        if found.state is RunState.RUNNING:
            return self.end(found, RunState.CANCELLED)
        self.ledger.cancel_queued(run)
        return self._run(run)

    async def retry(self, run: str) -> Run:
        self._run(run)
        return self.ledger.retry(run, time.time())

    async def replay(self, run: str) -> Run:
        self._run(run)
        return self.ledger.replay(run, time.time())

    async def replay_dead_letter(self, letter: int) -> int:
        if not self.ledger.drop_dead_letter(letter):
            raise NotFound(f"dead letter {letter} does not exist")
        return 1

    def _run(self, run: str) -> Run:
        found = self.ledger.run(run)
        if found is None:
            raise NotFound(f"job {run} does not exist")
        return found

    async def log(
        self, run: str, attempt: int | None, tail: int | None = None, offset: int | None = None
    ) -> LogPart | None:
        body = self.logs.get((run, attempt or self._run(run).attempts))
        if body is None:
            return None
        lines = body[offset or 0 :].splitlines(keepends=True)
        return LogPart(iter(lines if tail is None else lines[max(0, len(lines) - tail) :]), len(body))

    async def why(self, bucket: str, key: str, service: str, limit: int, after: str) -> Answers:
        self.ledger.explain(bucket, key, limit, after)
        runs = self.ledger.runs(bucket=bucket, key=key, service=service or None)
        return Answers(tuple(Answer(run.service, "waiting", run.event.key, run.id) for run in runs))

    def readiness(self) -> dict[str, dict[str, Any]]:
        self.looks += 1
        return self.parts

    def task_restarts(self) -> dict[str, int]:
        """None failed."""
        return {"dispatch": 0}

    def counters(self) -> dict[str, int]:
        return {"found_by_listing": 0}

    def bucket_missing(self, provider: str, bucket: str) -> None:
        self.missing.append((provider, bucket))

    def of(self, runs: Sequence[Run]) -> dict[str, Wait]:
        return waits_of(runs, self._facts())

    def progress(self, run: Run) -> str:
        return self.held_up.get(run.id, "")

    def queued(self) -> list[Waiting]:
        counts = {name: states.get("queued", 0) for name, states in self.ledger.counts().items()}
        return summary([], {}, counts, self._facts())

    def _facts(self) -> SiteFacts:
        def service(name: str) -> ServiceFacts:
            return ServiceFacts(name, "ready" if name in self.declared else "")

        return SiteFacts(
            time.time(), self.running, self.max_running, service, lambda run: "", lambda run: False, lambda run: None
        )

    async def backlog(self) -> list[BacklogRow]:
        counts = {name: counts.get("queued", 0) for name, counts in self.ledger.counts().items()}
        return backlog_rows(counts, {name: one.service for name, one in self.declared.items()}, "nvidia.com/gpu")
