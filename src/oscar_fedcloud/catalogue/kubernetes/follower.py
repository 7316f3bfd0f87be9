# SPDX-License-Identifier: Apache-2.0
"""Takes over what others do to the objects, as if it had come by the API.

A change that is reported is only a hint: the object is read anew, so that late and doubled reports do no harm.
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
from oscar_fedcloud.catalogue.kubernetes.documents import PLACE, read_spec, refused_document, spec_of
from oscar_fedcloud.catalogue.kubernetes.objects import ServiceObjects
from oscar_fedcloud.catalogue.kubernetes.records import SecretRecord
from oscar_fedcloud.catalogue.kubernetes.status import problem_text
from oscar_fedcloud.domain.services import Change, Conflict, ServiceState
from oscar_fedcloud.fdl import FdlError, FdlProblem, Service, from_document, to_document
from oscar_fedcloud.kube import KubeError, ListSnapshot, watch
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words
from oscar_fedcloud.storage.errors import StoreError

log = structlog.get_logger(__name__)

_PAUSE = 2.0  # s until a look that failed is repeated
_LONG_PAUSE = 20.0  # s until one that failed unexpectedly is repeated


class _Metadata(msgspec.Struct):
    name: str
    uid: str
    generation: int = 0


class _Outline(msgspec.Struct):
    metadata: _Metadata


class ServiceWatcher:
    """``watch`` hears of changes, ``work`` takes them over; both for ever, on the event loop."""

    def __init__(self, objects: ServiceObjects, changes: Changes) -> None:
        self.objects = objects
        self.changes = changes
        self.catalogue = changes.catalogue
        self.failures: dict[str, str] = {}  # services that cannot be taken over -> why
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    def look(self, name: str) -> None:
        """Look at this service's object soon."""
        if name not in self._queued:
            self._queued.add(name)
            self._queue.put_nowait(name)

    def services_changed(self) -> None:
        """The catalogue has changed: what did not fit in may do so now."""
        for name in self.catalogue.refused:
            self.look(name)

    async def watch(self) -> None:
        """Hear of changes for ever."""
        async for heard in watch(self.objects.client, self.objects.services, _Outline):
            if isinstance(heard, ListSnapshot):
                present = {found.metadata.name for found in heard.items}
                for name in (self.catalogue.entries.keys() | self.objects.seen.keys()) - present:
                    self.look(name)
                for found in heard.items:
                    self._hear(found.metadata)
            elif heard.type == "DELETED":
                self.look(heard.object.metadata.name)
            else:
                self._hear(heard.object.metadata)

    def _hear(self, metadata: _Metadata) -> None:
        if not self.objects.knows(metadata.uid, metadata.generation, metadata.name):
            self.look(metadata.name)

    async def work(self) -> None:
        """Take over for ever. What fails is tried again."""
        while True:
            name = await self._queue.get()
            self._queued.discard(name)
            try:
                await self._look(name)
            except (KubeError, RepositoryError, Conflict, StoreError, LedgerUnavailable) as error:
                log.warning("a service was not taken over, it will be tried again", service=name, error=str(error))
                self._look_later(name, _PAUSE)
            except Exception as error:  # of this service alone: the others are taken over
                report(log, "a service was not taken over, it will be tried again", error, service=name)
                self.failures[name] = in_words(error)
                self._look_later(name, _LONG_PAUSE)
            else:
                self.failures.pop(name, None)

    def _look_later(self, name: str, pause: float) -> None:
        asyncio.get_running_loop().call_later(pause, self.look, name)

    async def _look(self, name: str) -> None:
        """Read first, so that nobody waits for a slow API server. What is older than what we wrote since is known."""
        found, record = await self.objects.fetch(name), await self.objects.record(name)
        async with self.catalogue.changing:
            if found is None:
                await self._removed(name)
                return
            metadata = found["metadata"]
            known = self.objects.knows(metadata["uid"], metadata["generation"], name)
            if not known or name in self.catalogue.refused:
                await self._take_over(name, found, record)

    async def _removed(self, name: str) -> None:
        if await self.objects.fetch(name) is not None:
            return  # it has come back meanwhile
        if name not in self.catalogue.entries:
            self.catalogue.refused.pop(name, None)
            if name in self.objects.seen:
                await self.objects.forget(name)
            return
        log.info("a service was removed in the cluster", service=name)
        change = Change(names=(name,), state="absent")
        await self.changes.carry_out(change, lambda entries, removed: self._wait(self.objects.forget(name)))

    async def _take_over(self, name: str, found: Mapping[str, Any], record: SecretRecord | None) -> None:
        """Make the service what its object says, or say there why that cannot be."""
        known = self.catalogue.refused.pop(name, None)
        try:
            service = self._read(name, found["spec"], record)
            change = Change(documents=(service,), declared=self._declared(name, found))
            plan = await self.changes.carry_out(change, lambda entries, removed: self._accept(entries, found))
        except FdlError as error:
            await self._refuse(name, found, error.problems, record, known)
            return
        except BaseException:
            if known is not None:
                self.catalogue.refused[name] = known
            raise
        if plan.changed:
            log.info("a service was changed in the cluster", service=name, revision=plan.items[0].revision)
        else:
            refused = record is not None and bool(record.refused)
            await self.objects.settle(self.catalogue.entries[name], found, *self.catalogue.states[name], refused)

    def _read(self, name: str, spec: Mapping[str, Any], record: SecretRecord | None) -> Service:
        """The service of a document. Raises FdlError."""
        entry, before = self.catalogue.entries.get(name), self.catalogue.services.get(name)
        refused = record.refused if record else {}
        for begun in record.after(entry.revision if entry else 0) if record else ():
            if spec_of(begun.document) == spec or self._same(name, spec, begun.document, refused):
                return from_document(begun.document)
        return self._parsed(name, spec, before, refused)

    def _same(self, name: str, spec: Mapping[str, Any], begun: Mapping[str, Any], refused: Mapping[str, Any]) -> bool:
        """Whether this is a revision that was begun: its secrets may be hidden in the object already."""
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
        """When a new service was declared: files that came later are to be processed, even if we were away."""
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

    async def _refuse(
        self,
        name: str,
        found: Mapping[str, Any],
        problems: Sequence[FdlProblem],
        record: SecretRecord | None,
        known: str | None,
    ) -> None:
        """Keep what runs, and say in the object what is wrong with its document."""
        text = problem_text([_in_object(problem) for problem in problems])
        document = refused_document(found["spec"], record.refused if record else {})
        state: tuple[ServiceState, str] = self.catalogue.states.get(name, ("error", ""))
        await self.objects.refuse(name, self.catalogue.entries.get(name), found, *state, text, document)
        self.catalogue.refused[name] = text
        if text != known:
            log.warning("a service's document in the cluster is refused", service=name, problems=text)


def _in_object(problem: FdlProblem) -> FdlProblem:
    """A problem of the whole catalogue names its place as in a request with one service."""
    path = PLACE + problem.path.removeprefix("services[0]") if problem.path.startswith("services[0]") else problem.path
    return FdlProblem(path, problem.value, problem.message, problem.hint)
