# SPDX-License-Identifier: Apache-2.0
"""The catalogue's store in a Kubernetes cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from oscar_fedcloud.catalogue.entries import Entry, RepositoryError
from oscar_fedcloud.catalogue.kubernetes.follower import ServiceWatcher
from oscar_fedcloud.catalogue.kubernetes.names import SELECTOR
from oscar_fedcloud.catalogue.kubernetes.objects import ObjectVersion, ServiceObjects
from oscar_fedcloud.catalogue.kubernetes.records import SecretRecord
from oscar_fedcloud.catalogue.kubernetes.reporter import StatusWriter
from oscar_fedcloud.catalogue.kubernetes.status import inputs_of
from oscar_fedcloud.domain.services import Conflict
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import FdlError
from oscar_fedcloud.kube import KubeClient, KubeConfigError, KubeError

if TYPE_CHECKING:
    from oscar_fedcloud.runtime.tasks import Work
from oscar_fedcloud.catalogue.changes import Changes

log = structlog.get_logger(__name__)

_AT_ONCE = 16  # services that are written at the same time
_START_TRIES = 60  # a second apart: the API server may start together with us
_HEALTH = 5.0  # s that a look at the API server may take


class KubernetesRepository:
    """Catalogue store in the ``OscarService`` objects of a namespace; whoever changes them changes the catalogue."""

    def __init__(self, client: KubeClient, namespace: str, revisions: int) -> None:
        self.client = client
        self.objects = ServiceObjects(client, namespace, revisions)
        self._reporter: StatusWriter | None = None

    async def open(self) -> None:
        """Wait until the API server answers. Raises RepositoryError when it does not, or does not know our objects."""
        with _reported("the catalogue in Kubernetes cannot be read"):
            for tries in range(_START_TRIES):
                try:
                    await self._probe()
                    break
                except KubeError as error:  # rights, too, are known to a server only some time after its start
                    if tries == _START_TRIES - 1:
                        raise
                    log.warning("waiting for the API server", error=str(error))
                    await asyncio.sleep(1.0)

    async def _probe(self) -> None:
        await self.client.request("GET", self.objects.services.path(), query={"limit": "1"})

    async def _probe_soon(self) -> None:
        async with asyncio.timeout(_HEALTH):
            await self._probe()

    async def close(self) -> None:
        """Close all connections."""
        await self.client.close()

    def tasks(self, changes: Changes) -> Sequence[tuple[str, Work]]:
        """Follow what others do, and write how services stand."""
        follower = ServiceWatcher(self.objects, changes)
        self._reporter = StatusWriter(self.objects, changes.catalogue)
        for name in changes.catalogue.entries:
            self._reporter.report(name)
        changes.add_listener(follower)
        return (
            ("follow the catalogue", follower.watch),
            ("take over services", follower.work),
            ("write the status of services", self._reporter.run),
        )

    def health(self) -> dict[str, dict[str, Any]]:
        """Whether the API server answers."""
        try:
            self.client.wait(self._probe_soon())
        except (KubeError, KubeConfigError, TimeoutError) as error:
            return {"catalogue": {"ok": False, "detail": str(error) or "the API server does not answer"}}
        return {"catalogue": {"ok": True, "detail": ""}}

    def load(self) -> list[Entry]:
        """All services with the revision that counts. What others did meanwhile is taken over by the tasks."""
        with _reported("the catalogue in Kubernetes cannot be read"):
            return self.client.wait(self._load())

    async def _load(self) -> list[Entry]:
        found = {one["metadata"]["name"]: one for one in await self.client.list_objects(self.objects.services)}
        records = [SecretRecord(secret) for secret in await self.client.list_objects(self.objects.secrets, SELECTOR)]
        entries = []
        for record in sorted(records, key=lambda record: record.service):
            try:
                if entry := self._read(record, found.get(record.service)):
                    entries.append(entry)
            except (ValueError, OSError, msgspec.MsgspecError, FdlError) as error:
                log.error("the Secret of a service cannot be used", service=record.service, error=str(error))
        return entries

    def _read(self, record: SecretRecord, found: Mapping[str, Any] | None) -> Entry | None:
        """The entry of a service. found: its object, if it is still there."""
        name, status = record.service, dict((found or {}).get("status") or {})
        entry = record.current(status.get("revision", 0))
        if entry is not None:
            entry = msgspec.structs.replace(entry, inputs=inputs_of(status, entry))
        self.objects.keys[name], self.objects.sizes[name] = record.keys, record.sizes
        if found is not None:
            self.objects.statuses[name] = status
            settled = status.get("observedGeneration") == found["metadata"]["generation"]
            if settled and status.get("state") != "invalid":
                self.objects.seen[name] = ObjectVersion.of(found)
        return entry

    def write(self, entries: Sequence[Entry], removed: Sequence[str]) -> dict[str, Exception]:
        """Write the objects of these services, and delete those of the removed ones."""
        work = {name: self.objects.remove(name) for name in removed}
        work |= {entry.name: self.objects.save(entry) for entry in entries}
        return self.client.wait(_all(work))

    def save_inputs(self, entry: Entry) -> None:
        """Written with the next report: a baseline that is lost is made again, to the same end."""

    def history(self, name: str) -> list[Entry]:
        """Earlier entries of a service, newest first."""
        with _reported(f"the revisions of service {name} cannot be read"):
            record = self.client.wait(self.objects.record(name))
        current = self.objects.statuses.get(name, {}).get("revision", 0)
        return record.history(current) if record else []

    def keys(self, name: str) -> Mapping[str, Credential]:
        """The service's storage keys by provider id."""
        return self.objects.keys.get(name, {})

    def save_keys(self, name: str, keys: Mapping[str, Credential]) -> None:
        """Replace the service's storage keys."""
        with _reported(f"the keys of service {name} cannot be kept"):
            self.client.wait(self.objects.save_keys(name, keys))

    def report(self, name: str) -> None:
        """The standing of a service has changed: it will be written."""
        if self._reporter is not None:
            self._reporter.report(name)


async def _all(work: Mapping[str, Coroutine[Any, Any, None]]) -> dict[str, Exception]:
    """Do all of it, some at a time; returns what failed, by name."""
    places, failures = asyncio.Semaphore(_AT_ONCE), dict[str, Exception]()

    async def one(name: str, request: Coroutine[Any, Any, None]) -> None:
        async with places:
            try:
                await request
            except Conflict as error:
                failures[name] = error
            except KubeError as error:
                failures[name] = RepositoryError(f"service {name} was not written to Kubernetes: {error}")

    await asyncio.gather(*(one(name, request) for name, request in work.items()))
    return failures


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    """Errors of the client as errors of the store."""
    try:
        yield
    except (KubeError, KubeConfigError) as error:
        raise RepositoryError(f"{what}: {error}") from error
