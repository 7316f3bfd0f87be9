# SPDX-License-Identifier: Apache-2.0
"""The requests for the objects of a service, in an order that loses nothing if interrupted.

A revision is written to the Secret first, then the document to the ``OscarService``, and last its number to the status,
which determines the active revision. An object is only written over the version that was processed last, so a
concurrent change by another writer is a Conflict, and is processed next.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from oscar_fedcloud.catalogue.entries import Entry
from oscar_fedcloud.catalogue.kubernetes import names
from oscar_fedcloud.catalogue.kubernetes.conditions import status_of
from oscar_fedcloud.catalogue.kubernetes.secret_codec import (
    Data,
    SecretRecord,
    keys_data,
    refused_data,
    revision_data,
    secret_manifest,
    superfluous,
)
from oscar_fedcloud.catalogue.kubernetes.spec_codec import spec_of, without_secrets
from oscar_fedcloud.domain.services import Conflict, ServiceState
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.kube import KubeClient, KubeError
from oscar_fedcloud.kube.client import Body

_TRIES = 5  # while others write labels or annotations concurrently
_JSON_PATCH = "application/json-patch+json"
_PENDING = "its buckets, rules and key are being made"


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """The version of an object that was written or processed last."""

    uid: str
    generation: int
    version: str

    def same_document(self, other: ObjectVersion) -> bool:
        """Return whether at most status, labels and the like differ."""
        return (self.uid, self.generation) == (other.uid, other.generation)

    @staticmethod
    def of(found: Mapping[str, Any]) -> ObjectVersion:
        """Return the version of an object."""
        metadata = found["metadata"]
        return ObjectVersion(metadata["uid"], metadata["generation"], metadata["resourceVersion"])


class ServiceObjects:
    """Reads and writes the objects of services. All methods raise KubeError and must be called on the event loop."""

    def __init__(self, client: KubeClient, namespace: str, revisions: int) -> None:
        self.client = client
        self.services = names.services(namespace)
        self.secrets = names.secrets(namespace)
        self.revisions = revisions  # earlier ones that are kept
        self.seen: dict[str, ObjectVersion] = {}
        self.keys: dict[str, dict[str, Credential]] = {}
        self.statuses: dict[str, dict[str, Any]] = {}  # as they are in the cluster
        self.sizes: dict[str, dict[int, int]] = {}  # revisions in the Secret of a service
        self.order: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # one writer of a status at a time

    def knows(self, uid: str, generation: int, name: str) -> bool:
        """Return whether this version of an object has been written or processed."""
        seen = self.seen.get(name)
        return seen is not None and seen.uid == uid and generation <= seen.generation

    async def fetch(self, name: str) -> dict[str, Any] | None:
        """Return the object of a service, or None."""
        return await _unless_missing(self.client.get(self.services, name))

    async def record(self, name: str) -> SecretRecord | None:
        """Return the Secret of a service, or None."""
        secret = await _unless_missing(self.client.get(self.secrets, names.secret_name(name)))
        return None if secret is None else SecretRecord(secret)

    # -- own changes -----------------------------------------------------------------------------------------------

    async def save(self, entry: Entry) -> None:
        """Declare a revision. Raises Conflict if another writer has changed the object."""
        async with self.order[entry.name]:
            await self._write_secret(entry.name, self._with_revision(entry))
            try:
                seen = ObjectVersion.of(await self._put(entry.name, spec_of(entry.document)))
            except Conflict:
                await self._write_secret(entry.name, {f"revision-{entry.revision}": None})
                raise
            await self._settle(entry.name, seen, entry, "pending", _PENDING, "")

    async def _put(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        for _ in range(_TRIES):
            seen = self.seen.get(name)
            try:
                if seen is None:
                    self.statuses.pop(name, None)
                    return await self._request("POST", self.services.path(), self._manifest(name, spec))
                return await self._replace_spec(name, spec, seen)
            except KubeError as error:
                if error.status not in (404, 409) or (error.status == 404 and seen is None):
                    raise
                await self._refresh(name)
        raise Conflict(f"service {name} keeps being changed by others")

    async def _replace_spec(self, name: str, spec: Mapping[str, Any], seen: ObjectVersion) -> dict[str, Any]:
        """Write the whole document; labels and annotations are kept.

        Raises 409 if the object has changed since it was read.
        """
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": seen.version},
            {"op": "replace", "path": "/spec", "value": spec},
        ]
        return await self._request("PATCH", self.services.path(name), msgspec.json.encode(patch), _JSON_PATCH)

    async def _request(
        self, method: str, path: str, body: Body, content_type: str = "application/json"
    ) -> dict[str, Any]:
        return await self.client.request(
            method, path, body, query={"fieldManager": names.MANAGER}, content_type=content_type
        )

    async def _refresh(self, name: str) -> None:
        """Read the newest version of the object. Raises Conflict if more than labels and the like have changed."""
        found, seen = await self.fetch(name), self.seen.get(name)
        if (
            found is None
            or seen is None
            or not self.knows(found["metadata"]["uid"], ObjectVersion.of(found).generation, name)
        ):
            raise Conflict(f"service {name} was changed in Kubernetes at the same moment")
        self.seen[name] = ObjectVersion.of(found)

    async def remove(self, name: str) -> None:
        """Delete the objects of a service. Raises Conflict if another writer has changed the object."""
        for _ in range(_TRIES):
            seen = self.seen.get(name)
            only = {"uid": seen.uid, "resourceVersion": seen.version} if seen else {"uid": "not processed yet"}
            try:
                await self.client.delete(self.services, name, {"preconditions": only})
                return await self.forget(name)
            except KubeError as error:
                if error.status != 409:
                    raise
                await self._refresh(name)
        raise Conflict(f"service {name} keeps being changed by others")

    async def forget(self, name: str) -> None:
        """Delete the Secret of an object that is gone."""
        await self.client.delete(self.secrets, names.secret_name(name))
        for table in (self.seen, self.keys, self.statuses, self.sizes):
            table.pop(name, None)

    async def save_keys(self, name: str, keys: Mapping[str, Credential]) -> None:
        """Store the storage keys of a service."""
        self.keys[name] = dict(keys)
        await self._write_secret(name, keys_data(keys))

    # -- changes of others -----------------------------------------------------------------------------------------

    async def accept(self, entry: Entry, found: Mapping[str, Any]) -> None:
        """Record that the object has been accepted as this new revision."""
        async with self.order[entry.name]:
            await self._write_secret(entry.name, self._with_revision(entry))
            await self._settle(entry.name, await self._hide(entry.name, found), entry, "pending", _PENDING, "")

    async def settle(
        self, entry: Entry, found: Mapping[str, Any], state: ServiceState, reason: str, refused: bool
    ) -> None:
        """Record that the object matches the active revision.

        ``refused`` tells whether a rejected document is stored.
        """
        async with self.order[entry.name]:
            if refused:
                await self._write_secret(entry.name, refused_data(None))
            await self._settle(entry.name, await self._hide(entry.name, found), entry, state, reason, "")

    async def refuse(
        self,
        name: str,
        entry: Entry | None,
        found: Mapping[str, Any],
        state: ServiceState,
        reason: str,
        problems: str,
        document: Mapping[str, Any],
    ) -> None:
        """Record that the object cannot be used. ``document`` is its document with secrets, which are stored."""
        async with self.order[name]:
            if without_secrets(found) is not None:
                await self._write_secret(
                    name, refused_data({key: document[key] for key in document if key != "script"})
                )
            await self._settle(name, await self._hide(name, found), entry, state, reason, problems)

    async def _hide(self, name: str, found: Mapping[str, Any]) -> ObjectVersion:
        """Hide the secrets in an object; return its new version."""
        before, seen = self.seen.get(name), ObjectVersion.of(found)
        if before is None or before.uid != seen.uid:
            self.statuses[name] = dict(found.get("status") or {})
        current: Mapping[str, Any] | None = found
        while current is not None and ObjectVersion.of(current).same_document(seen):
            hidden = without_secrets(current)
            if hidden is None:
                return ObjectVersion.of(current)
            try:
                return ObjectVersion.of(await self._request("PUT", self.services.path(name), hidden))
            except KubeError as error:
                if error.status not in (404, 409):
                    raise
            current = await self.fetch(
                name
            )  # with another status or label; or another document, which is processed again
        return seen

    # -- parts -----------------------------------------------------------------------------------------------------

    def _manifest(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": spec}

    def _with_revision(self, entry: Entry) -> Data:
        """

        eturn the changes to the Secret for a new revision: it is added, old ones and a rejected document are removed.
        """
        data = revision_data(entry)
        sizes = {
            **self.sizes.get(entry.name, {}),
            entry.revision: sum(len(value or "") * 3 // 4 for value in data.values()),
        }
        gone = superfluous(sizes, entry.revision, self.revisions)
        return {**data, **{f"revision-{number}": None for number in gone}, **refused_data(None)}

    async def _write_secret(self, name: str, data: Data) -> None:
        """Change keys of the Secret; create it with all known data if there is none."""
        if name in self.sizes:
            patched = await _unless_missing(self.client.patch(self.secrets, names.secret_name(name), {"data": data}))
        else:
            patched = None
        if patched is None:
            patched = await self._make_secret(name, {**keys_data(self.keys.get(name, {})), **data})
        self.sizes[name] = SecretRecord(patched).sizes

    async def _make_secret(self, name: str, data: Data) -> dict[str, Any]:
        try:
            return await self.client.create(self.secrets, secret_manifest(name, data))
        except KubeError as error:
            if error.status != 409:
                raise
        return await self.client.patch(self.secrets, names.secret_name(name), {"data": data})

    async def _settle(
        self, name: str, seen: ObjectVersion, entry: Entry | None, state: ServiceState, reason: str, problems: str
    ) -> None:
        """Write the active revision. Only then is this version of the object recorded as processed."""
        await self._patch_status(name, self._status(name, seen.generation, entry, state, reason, problems))
        self.seen[name] = seen

    async def report(self, name: str, entry: Entry | None, state: ServiceState, reason: str, problems: str) -> None:
        """Write the state of a service, but not its active revision, which may be about to change."""
        async with self.order[name]:
            if name in self.seen:
                status = self._status(name, self.seen[name].generation, entry, state, reason, problems)
                await self._patch_status(name, {**status, "revision": None, "observedGeneration": None})

    def _status(
        self, name: str, generation: int, entry: Entry | None, state: ServiceState, reason: str, problems: str
    ) -> dict[str, Any]:
        before = self.statuses.get(name, {})
        return status_of(entry, state, reason, problems, generation, before, time.time())

    async def _patch_status(self, name: str, status: Mapping[str, Any]) -> None:
        """Write the parts of the status that differ. An object that is gone is skipped."""
        before = self.statuses.get(name, {})
        different = {key: value for key, value in status.items() if value is not None and before.get(key) != value}
        if different:
            patched = await _unless_missing(self.client.patch(self.services, name, {"status": different}, "status"))
            if patched is not None:
                self.statuses[name] = {**before, **different}


async def _unless_missing(request: Any) -> dict[str, Any] | None:
    """Return the response to a request, or None if the object does not exist."""
    try:
        found: dict[str, Any] = await request
    except KubeError as error:
        if error.status != 404:
            raise
        return None
    return found
