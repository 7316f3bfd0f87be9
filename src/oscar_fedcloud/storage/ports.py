# SPDX-License-Identifier: Apache-2.0
"""The interfaces of a store, by concern. All methods block, with time limits, and raise StoreError.

A store type implements ``ObjectStore``. Callers depend on the port that they need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol

from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Service


class Probe(Protocol):
    """A store whose health can be checked."""

    id: str

    def health(self) -> dict[str, Any]:
        """Return whether the store answers: ``{"ok": bool, "detail": str}``."""

    def clock(self) -> float:
        """Return the store's own time, in seconds since the epoch."""


class ObjectReader(Probe, Protocol):
    """Finds and reads objects.

    Attributes:
        settle: listings in a row that must agree on an object before it counts
        polled: whether objects are found only by polling
    """

    settle: int

    @property
    def polled(self) -> bool: ...

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterable[StorageEvent]:
        """Return the current object of each key, as events (via LISTING). Keys that end in ``/`` are left out.

        Args:
            after: return only keys after this one, in byte order
            limit: the maximum number of objects; 0 means all
        """

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        """Return the current object as an event, with its depth, or None."""

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        """Return the object's bytes in chunks, or None."""

    def settled(self, event: StorageEvent) -> bool:
        """Return whether writing to this object seems to have ended."""

    def why(self, bucket: str, key: str) -> str:
        """Return what prevents an object from being an input, as far as the store knows, or ""."""


class ObjectWriter(Protocol):
    """Writes and deletes objects."""

    def put(self, bucket: str, key: str, body: bytes, depth: int = 0) -> StorageEvent:
        """Store an object, and return its event."""

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        """Store ``size`` bytes of a file as an object, and return its event."""

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object. Returns False if there was none."""

    def older(self, bucket: str, before: float) -> Iterable[str]:
        """Return the keys of objects last written before that time (s)."""

    def remove_many(self, bucket: str, keys: Sequence[str]) -> int:
        """Delete these objects, and return how many were deleted. One failure does not prevent the others."""


class BucketAdmin(Protocol):
    """Creates and deletes buckets."""

    def buckets(self) -> Sequence[str]:
        """Return the names of all buckets."""

    def ensure_bucket(self, bucket: str) -> bool:
        """Create the bucket if it is missing. Returns True if it was."""

    def delete_bucket(self, bucket: str, data: bool) -> None:
        """Delete the bucket, with all its objects if ``data``."""


class Notifier(Protocol):
    """Sends events of objects to the invoker."""

    def parse(self, body: bytes, via: Origin = Origin.DURABLE) -> list[StorageEvent]:
        """Return all records of a notification body. Raises BadEvent."""

    def ensure_rules(self, bucket: str, prefixes: Sequence[str]) -> bool:
        """Set the invoker's notification rules of this bucket to exactly these prefixes. Returns whether they changed.

        Other rules of the bucket are not changed.
        """


class KeyIssuer(Protocol):
    """Issues keys for services."""

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        """Return a key with exactly the policy of this service: the known one if it still fits."""

    def key_problem(self) -> str:
        """Return why the store cannot issue the keys that Jobs need, or ""."""

    def drop_credential(self, known: Credential) -> None:
        """Remove a service's key."""


class RunnerAccess(Protocol):
    """Gives the runner of a Job access to the store."""

    def rclone_env(self, remote: str, credential: Credential | None) -> dict[str, str]:
        """Return the variables ``RCLONE_CONFIG_<REMOTE>_*``."""


class ObjectStore(ObjectReader, ObjectWriter, BucketAdmin, Notifier, KeyIssuer, RunnerAccess, Protocol):
    """A store with all interfaces."""
