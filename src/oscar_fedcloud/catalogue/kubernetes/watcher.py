# SPDX-License-Identifier: Apache-2.0
"""Applies changes that others make to the objects, as if they had been made through the API.

A watch event is only a hint: the object is read again, so late and duplicate events do no harm.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog

from oscar_fedcloud.catalogue.changes import Changes
from oscar_fedcloud.catalogue.entries import Entry, RepositoryError
from oscar_fedcloud.catalogue.kubernetes.conditions import problem_text
from oscar_fedcloud.catalogue.kubernetes.secret_codec import SecretRecord
from oscar_fedcloud.catalogue.kubernetes.service_objects import ServiceObjects
from oscar_fedcloud.catalogue.kubernetes.spec_codec import PLACE, read_spec, refused_document, spec_of
from oscar_fedcloud.domain.services import Change, Conflict, ServiceState
from oscar_fedcloud.fdl import FdlError, FdlProblem, Service, from_document, to_document
from oscar_fedcloud.kube import KubeError, ListSnapshot, watch
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words
from oscar_fedcloud.storage.errors import StoreError

log = structlog.get_logger(__name__)

_PAUSE = 2.0  # s until a failed attempt is repeated
_LONG_PAUSE = 20.0  # s until an attempt that failed unexpectedly is repeated


class _Metadata(msgspec.Struct):
    name: str
    uid: str
    generation: int = 0


class _Outline(msgspec.Struct):
    metadata: _Metadata


class ServiceWatcher:
    """Watches for changes (``watch``) and applies them (``work``), both on the event loop."""

    def __init__(self, objects: ServiceObjects, changes: Changes) -> None:
        self.objects = objects
        self.changes = changes
        self.catalogue = changes.catalogue
        self.failures: dict[str, str] = {}  # services whose changes cannot be applied -> why
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    def enqueue(self, name: str) -> None:
        """Check this service's object soon."""
        if name not in self._queued:
            self._queued.add(name)
            self._queue.put_nowait(name)

    def services_changed(self) -> None:
        """Check rejected documents again, since they may be valid in the changed catalogue."""
        for name in self.catalogue.rejected:
            self.enqueue(name)

    async def watch(self) -> None:
        """Watch for changes until cancelled."""
        async for event in watch(self.objects.client, self.objects.services, _Outline):
            if isinstance(event, ListSnapshot):
                present = {found.metadata.name for found in event.items}
                for name in (self.catalogue.entries.keys() | self.objects.seen.keys()) - present:
                    self.enqueue(name)
                for found in event.items:
                    self._observe(found.metadata)
            elif event.type == "DELETED":
                self.enqueue(event.object.metadata.name)
            else:
                self._observe(event.object.metadata)

    def _observe(self, metadata: _Metadata) -> None:
        if not self.objects.knows(metadata.uid, metadata.generation, metadata.name):
            self.enqueue(metadata.name)

    async def work(self) -> None:
        """Apply changes until cancelled. Failures are retried."""
        while True:
            name = await self._queue.get()
            self._queued.discard(name)
            try:
                await self._adopt_change(name)
            except (KubeError, RepositoryError, Conflict, StoreError, LedgerUnavailable) as error:
                log.warning("a change of a service could not be applied, retrying", service=name, error=str(error))
                self._enqueue_later(name, _PAUSE)
            except Exception as error:  # affects this service only
                report(log, "a change of a service could not be applied, retrying", error, service=name)
                self.failures[name] = in_words(error)
                self._enqueue_later(name, _LONG_PAUSE)
            else:
                self.failures.pop(name, None)

    def _enqueue_later(self, name: str, pause: float) -> None:
        asyncio.get_running_loop().call_later(pause, self.enqueue, name)

    async def _adopt_change(self, name: str) -> None:
        """Apply the state of an object, unless it is known.

        The object is read before taking the lock, so that a slow API server blocks nobody. Versions older than the
        daemon's own writes are known.
        """
        found, record = await self.objects.fetch(name), await self.objects.record(name)
        async with self.catalogue.changing:
            if found is None:
                await self._removed(name)
                return
            metadata = found["metadata"]
            known = self.objects.knows(metadata["uid"], metadata["generation"], name)
            if not known or name in self.catalogue.rejected:
                await self._apply_object(name, found, record)

    async def _removed(self, name: str) -> None:
        if await self.objects.fetch(name) is not None:
            return  # it has been created again meanwhile
        if name not in self.catalogue.entries:
            self.catalogue.rejected.pop(name, None)
            if name in self.objects.seen:
                await self.objects.forget(name)
            return
        log.info("a service was removed in the cluster", service=name)
        change = Change(names=(name,), state="absent")
        await self.changes.apply_locked(change, lambda entries, removed: self._wait(self.objects.forget(name)))

    async def _apply_object(self, name: str, found: Mapping[str, Any], record: SecretRecord | None) -> None:
        """Change the service to what its object declares, or write to the object why that is not possible."""
        known = self.catalogue.rejected.pop(name, None)
        try:
            service = self._read(name, found["spec"], record)
            change = Change(documents=(service,), declared=self._declared(name, found))
            plan = await self.changes.apply_locked(change, lambda entries, removed: self._accept(entries, found))
        except FdlError as error:
            await self._reject(name, found, error.problems, record, known)
            return
        except BaseException:
            if known is not None:
                self.catalogue.rejected[name] = known
            raise
        if plan.changed:
            log.info("a service was changed in the cluster", service=name, revision=plan.items[0].revision)
        else:
            refused = record is not None and bool(record.refused)
            await self.objects.settle(self.catalogue.entries[name], found, *self.catalogue.states[name], refused)

    def _read(self, name: str, spec: Mapping[str, Any], record: SecretRecord | None) -> Service:
        """Return the service of a document. Raises FdlError."""
        entry, before = self.catalogue.entries.get(name), self.catalogue.services.get(name)
        refused = record.refused if record else {}
        for begun in record.after(entry.revision if entry else 0) if record else ():
            if spec_of(begun.document) == spec or self._is_begun_revision(name, spec, begun.document, refused):
                return from_document(begun.document)
        return self._parsed(name, spec, before, refused)

    def _is_begun_revision(
        self, name: str, spec: Mapping[str, Any], begun: Mapping[str, Any], refused: Mapping[str, Any]
    ) -> bool:
        """Return whether this is a revision whose writing was interrupted.

        Its secrets may already be hidden in the object.
        """
        try:
            service = self._parsed(name, spec, from_document(begun), refused)
        except FdlError:
            return False
        return to_document(self.catalogue.completed(service)) == begun

    def _parsed(
        self, name: str, spec: Mapping[str, Any], before: Service | None, refused: Mapping[str, Any]
    ) -> Service:
        return read_spec(name, spec, before, refused, tuple(self.changes.providers), self.changes.rules)

    def _declared(self, name: str, found: Mapping[str, Any]) -> float | None:
        """Return when a new service was declared: later files must be processed, even if the daemon was not running."""
        if name in self.catalogue.entries:
            return None
        made = datetime.fromisoformat(found["metadata"]["creationTimestamp"]).timestamp()
        return min(time.time(), made + 1.0)  # the time stamp has whole seconds

    def _accept(self, entries: Sequence[Entry], found: Mapping[str, Any]) -> dict[str, Exception]:
        for entry in entries:
            self.objects.client.wait(self.objects.accept(entry, found))
        return {}

    def _wait(self, work: Any) -> dict[str, Exception]:
        self.objects.client.wait(work)
        return {}

    async def _reject(
        self,
        name: str,
        found: Mapping[str, Any],
        problems: Sequence[FdlProblem],
        record: SecretRecord | None,
        known: str | None,
    ) -> None:
        """Keep the active revision, and write the problems of the document to the object."""
        text = problem_text([_in_object(problem) for problem in problems])
        document = refused_document(found["spec"], record.refused if record else {})
        state: tuple[ServiceState, str] = self.catalogue.states.get(name, ("error", ""))
        await self.objects.refuse(name, self.catalogue.entries.get(name), found, *state, text, document)
        self.catalogue.rejected[name] = text
        if text != known:
            log.warning("a service's document in the cluster is refused", service=name, problems=text)


def _in_object(problem: FdlProblem) -> FdlProblem:
    """Convert the place of a problem in the catalogue to its place in a request with one service."""
    path = PLACE + problem.path.removeprefix("services[0]") if problem.path.startswith("services[0]") else problem.path
    return FdlProblem(path, problem.value, problem.message, problem.hint)
