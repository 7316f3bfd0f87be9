# SPDX-License-Identifier: Apache-2.0
"""The repository of services in a Kubernetes cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from oscar_fedcloud.catalogue.entries import Entry, RepositoryError
from oscar_fedcloud.catalogue.kubernetes.conditions import inputs_of
from oscar_fedcloud.catalogue.kubernetes.names import SELECTOR
from oscar_fedcloud.catalogue.kubernetes.secret_codec import SecretRecord
from oscar_fedcloud.catalogue.kubernetes.service_objects import ObjectVersion, ServiceObjects
from oscar_fedcloud.catalogue.kubernetes.status_writer import StatusWriter
from oscar_fedcloud.catalogue.kubernetes.watcher import ServiceWatcher
from oscar_fedcloud.domain.services import Conflict
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import FdlError
from oscar_fedcloud.kube import KubeClient, KubeConfigError, KubeError

if TYPE_CHECKING:
    from oscar_fedcloud.runtime.tasks import Work
from oscar_fedcloud.catalogue.changes import Changes

log = structlog.get_logger(__name__)

_AT_ONCE = 16  # services that are written at the same time
_START_TRIES = 60  # one second apart: the API server may start at the same time as the daemon
_HEALTH = 5.0  # s that a check of the API server may take


class KubernetesRepository:
    """Stores services as ``OscarService`` objects of a namespace. Changes of these objects change the catalogue."""

    def __init__(self, client: KubeClient, namespace: str, revisions: int) -> None:
        self.client = client
        self.objects = ServiceObjects(client, namespace, revisions)
        self._reporter: StatusWriter | None = None

    async def open(self) -> None:
        """Wait until the API server responds. Raises RepositoryError if it does not, or does not know the resource."""
        with _reported("the catalogue in Kubernetes cannot be read"):
            for tries in range(_START_TRIES):
                try:
                    await self._probe()
                    break
                except KubeError as error:  # a server loads access rights only some time after its start
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
        """Return the tasks that apply changes of others and write the status of services."""
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
        """Return whether the API server responds."""
        try:
            self.client.wait(self._probe_soon())
        except (KubeError, KubeConfigError, TimeoutError) as error:
            return {"catalogue": {"ok": False, "detail": str(error) or "the API server does not answer"}}
        return {"catalogue": {"ok": True, "detail": ""}}

    def load(self) -> list[Entry]:
        """Return all services with their active revision.

        Changes that others made meanwhile are applied by the tasks.
        """
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
        """Return the entry of a service. ``found`` is its object, if it still exists."""
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
        """Do nothing: inputs are written with the next report.

        A lost baseline is recorded again with the same result.
        """

    def history(self, name: str) -> list[Entry]:
        """Return earlier entries of a service, newest first."""
        with _reported(f"the revisions of service {name} cannot be read"):
            record = self.client.wait(self.objects.record(name))
        current = self.objects.statuses.get(name, {}).get("revision", 0)
        return record.history(current) if record else []

    def keys(self, name: str) -> Mapping[str, Credential]:
        """Return the service's storage keys by provider id."""
        return self.objects.keys.get(name, {})

    def save_keys(self, name: str, keys: Mapping[str, Credential]) -> None:
        """Replace the service's storage keys."""
        with _reported(f"the keys of service {name} cannot be kept"):
            self.client.wait(self.objects.save_keys(name, keys))

    def report(self, name: str) -> None:
        """Write the changed state of a service soon."""
        if self._reporter is not None:
            self._reporter.report(name)


async def _all(work: Mapping[str, Coroutine[Any, Any, None]]) -> dict[str, Exception]:
    """Run all requests, some concurrently; return the failures by name."""
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
    """Convert errors of the client to RepositoryError."""
    try:
        yield
    except (KubeError, KubeConfigError) as error:
        raise RepositoryError(f"{what}: {error}") from error
