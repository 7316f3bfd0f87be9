# SPDX-License-Identifier: Apache-2.0
"""Operations on jobs: start one by HTTP, cancel, retry, replay, read its log, explain why a file did not run."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import ParamSpec, TypeVar

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.intake import EventIntake
from oscar_fedcloud.config import Config
from oscar_fedcloud.dispatch.dispatcher import Dispatcher
from oscar_fedcloud.domain.events import EventOutcome, Origin, Recording, StorageEvent
from oscar_fedcloud.domain.explanations import ExplanationPage
from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.domain.jsontext import to_json
from oscar_fedcloud.domain.runs import Run, run_id
from oscar_fedcloud.domain.services import NotFound, NotStarted
from oscar_fedcloud.invocations.explain import Facts, answers
from oscar_fedcloud.invocations.wait_reasons import Wait
from oscar_fedcloud.invocations.waits import Waits
from oscar_fedcloud.launchers.port import Launcher, LogPart
from oscar_fedcloud.launchers.runner.environment import log_path
from oscar_fedcloud.ledger import Ledger, Trace, trace_cursor
from oscar_fedcloud.sources import http
from oscar_fedcloud.sources.dialects import unwrap
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.stores import StoreRegistry

P = ParamSpec("P")
T = TypeVar("T")


class Invocations:
    """Operations on jobs."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        catalogue: Catalogue,
        stores: StoreRegistry,
        dispatcher: Dispatcher,
        launcher: Launcher,
        intake: EventIntake,
        waits: Waits,
    ) -> None:
        self.config = config
        self.ledger = ledger
        self.catalogue = catalogue
        self.stores = stores
        self.site_store = stores.site_store
        self.dispatcher = dispatcher
        self.launcher = launcher
        self.intake = intake
        self.waits = waits

    async def submit(
        self, service: str, body: bytes, *, encoded: bool = False, idempotency_key: str = "", delegated_id: str = ""
    ) -> Run:
        """Start a service for the storage events in the body, or with the body as its input file.

        The same idempotency key (or delegated id) gives the same run. If the body contains several events, return the
        run of the first. Raises NotFound, NotStarted, BadEvent.

        Args:
            encoded: whether files are base64, as OSCAR's clients send them.
        """
        if service not in self.catalogue.services:
            raise NotFound(f"service {service} does not exist")
        if events := await self._events(body):
            recordings = [Recording(event, (service,), EventOutcome.MATCHED) for event in events]
        else:
            event = self._body_event(service, idempotency_key or delegated_id)
            if known := await asyncio.to_thread(self.ledger.run, run_id(service, event)):
                return known
            stored = await self.stores.run(self.site_store.id, self._store_body, event, body, encoded)
            recordings = [Recording(stored, (service,), EventOutcome.MATCHED)]
        await asyncio.gather(*(self.ledger.record(recording) for recording in recordings))
        found = await asyncio.to_thread(self.ledger.run, run_id(service, recordings[0].event))
        if found is None and not events:
            raise NotStarted("this Idempotency-Key was used for a job whose history has been removed: use another one")
        if found is None:
            raise NotStarted(f"the event asks nothing of service {service}: its object was there before the service")
        return found

    async def _events(self, body: bytes) -> list[StorageEvent]:
        """Return the events in a body; each object is looked up in its store."""
        items = await asyncio.to_thread(lambda: http.told_of(unwrap(body)))
        if unknown := [item.provider for item in items if item.provider not in self.stores]:
            raise http.not_configured(unknown[0])
        return [await self.stores.run(item.provider, http.storage_event, item, self.stores) for item in items]

    def _body_event(self, service: str, idempotency_key: str) -> StorageEvent:
        """Return the event for a body in the internal bucket. Its revision identifies the request, not the object."""
        token = digest(service, idempotency_key) if idempotency_key else secrets.token_hex(8)
        key = f"{service}/event-file-{token}"
        return StorageEvent(
            self.site_store.id, self.config.internal_bucket, key, token, time.time_ns(), via=Origin.HTTP
        )

    def _store_body(self, event: StorageEvent, body: bytes, encoded: bool) -> StorageEvent:
        """Store the body of a request as an object, so that it is staged like any input."""
        data, query = http.payload(body)
        record = http.bounded(to_json({"queryStringParameters": query} if query else {}))
        stored = self.site_store.put(event.bucket, event.key, data if encoded or query else body)
        return replace(event, size=stored.size, etag=stored.etag, time=stored.time, record=record)

    async def cancel(self, run_id: str) -> Run:
        """Cancel a queued or running job. Raises NotFound; a job that has ended is returned unchanged."""
        await self.dispatcher.cancel(await self._run(run_id))
        return await self._run(run_id)

    async def retry(self, run_id: str) -> Run:
        """Queue a job that ended without success again. Raises NotFound, StateError."""
        await self._run(run_id)
        return self._woken(await asyncio.to_thread(self.ledger.retry, run_id, time.time()))

    async def replay(self, run_id: str) -> Run:
        """Queue an ended job again, in whatever state it ended. Raises NotFound, StateError."""
        await self._run(run_id)
        return self._woken(await asyncio.to_thread(self.ledger.replay, run_id, time.time()))

    async def replay_dead_letter(self, letter: int) -> int:
        """Record a dead letter's events, remove it, and return their number. Raises NotFound, BadEvent."""
        found = await asyncio.to_thread(self.ledger.dead_letter, letter)
        if found is None:
            raise NotFound(f"dead letter {letter} does not exist")
        provider = self.stores.get(found.source.partition("/")[0], self.site_store)
        events = provider.parse(found.body)
        await self.intake.record(events)
        await asyncio.to_thread(self.ledger.drop_dead_letter, letter)
        return len(events)

    async def _run(self, run_id: str) -> Run:
        found = await asyncio.to_thread(self.ledger.run, run_id)
        if found is None:
            raise NotFound(f"job {run_id} does not exist")
        return found

    def _woken(self, run: Run) -> Run:
        self.dispatcher.wake([run.service])
        return run

    async def log(
        self, run_id: str, attempt: int | None, tail: int | None = None, offset: int | None = None
    ) -> LogPart | None:
        """Return an attempt's log, from the launcher while it has it, then from the store. Raises StoreError.

        Args:
            attempt: None means the last one.
            tail: only this number of lines at the end.
            offset: only what follows this number of bytes.
        """
        job, path = await asyncio.to_thread(self._place_of_log, run_id, attempt)
        if not job:
            return None
        found = await asyncio.to_thread(self.launcher.log, job, offset or 0)
        if found is None:
            found = await self.stores.run(self.site_store.id, self._stored_log, path, offset, tail)
        if found is None or tail is None:
            return found
        return replace(found, chunks=await asyncio.to_thread(_last_lines, found.chunks, tail))

    def _stored_log(self, path: str, offset: int | None, tail: int | None) -> LogPart | None:
        chunks = self.site_store.read(self.config.log_bucket, path)
        if chunks is None:
            return None
        return LogPart(chunks, None) if offset is None and tail is None else _rest(chunks, offset or 0)

    def _place_of_log(self, run_id: str, attempt: int | None) -> tuple[str, str]:
        """Return the Job of an attempt and the place of its log in the store; ("", "") if there is none. Blocks."""
        run = self.ledger.run(run_id)
        chosen = [item for item in self.ledger.attempts(run_id) if attempt in (None, item.number)]
        if run is None or not chosen:
            return "", ""
        return chosen[-1].job, log_path(run.service, chosen[-1].job)

    async def why(self, bucket: str, key: str, service: str = "", limit: int = 0, after: str = "") -> ExplanationPage:
        """Explain why a file did or did not run, newest revision first. Raises ValueError for an invalid cursor.

        Args:
            service: only for this service; empty means all.
            limit: revisions on a page; 0 means all.
            after: the cursor of the previous page.
        """
        traces, cursor = await asyncio.to_thread(self._traces, bucket, key, limit, after)
        runs = [run for trace in traces for run in trace["runs"]]
        facts = await self._facts(bucket, key, bool(traces), self.waits.of(runs))
        return ExplanationPage(tuple(answers(traces, bucket, key, service, facts)), cursor)

    def _traces(self, bucket: str, key: str, limit: int, after: str) -> tuple[list[Trace], str]:
        traces = self.ledger.explain(bucket, key, limit + 1 if limit else 0, after)
        if not limit or len(traces) <= limit:
            return traces, ""
        return traces[:limit], trace_cursor(traces[limit - 1])

    async def _facts(self, bucket: str, key: str, known: bool, waits: Mapping[str, Wait]) -> Facts:
        """Return the facts used in addition to the ledger's traces.

        Stores are asked only about objects without traces.
        """
        services = dict(self.catalogue.services)
        states = dict(self.catalogue.states)
        facts = Facts(services, {name: why for name, (state, why) in states.items() if state != "ready"}, waits=waits)
        if known:
            return facts
        names = {one.storage_provider for item in services.values() for one in item.input if one.bucket == bucket}
        store = self.stores.get(next(iter(sorted(names)), self.site_store.id), self.site_store)

        async def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
            return await self.stores.run(store.id, call, *args, **kwargs)

        with contextlib.suppress(StoreError):
            facts = replace(facts, buckets=frozenset(await ask(store.buckets)))
            facts = replace(facts, exists=await ask(store.stat, bucket, key) is not None)
        return replace(facts, note=await ask(store.why, bucket, key))


def _rest(chunks: Iterable[bytes], offset: int) -> LogPart:
    """Return the part of a stored log after an offset. Logs are bounded, so it may be held in memory."""
    whole = b"".join(chunks)
    return LogPart(iter([whole[offset:]]), max(offset, len(whole)))


def _last_lines(chunks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """Return the last lines of a log. Logs are bounded, so it may be held in memory."""
    lines = b"".join(chunks).splitlines(keepends=True)
    return iter(lines[max(0, len(lines) - count) :])
