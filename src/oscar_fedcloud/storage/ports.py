# SPDX-License-Identifier: Apache-2.0
"""What the daemon asks of a store, by concern. All methods block, with time limits, and raise StoreError.

A kind of store implements ``ObjectStore``. Whoever uses one names the port that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol

from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Service


class Probe(Protocol):
    """A store that can be asked whether it answers."""

    id: str

    def health(self) -> dict[str, Any]:
        """Return whether the store answers: ``{"ok": bool, "detail": str}``."""

    def clock(self) -> float:
        """Return the store's own time, in seconds since the epoch."""


class ObjectReader(Probe, Protocol):
    """Finds and reads objects.

    Attributes:
        settle: listings in a row that must agree on an object before it counts
        polled: whether objects are found by polling alone
    """

    settle: int

    @property
    def polled(self) -> bool: ...

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterable[StorageEvent]:
        """Return the current object of each key, as events (via LISTING). Keys that end in ``/`` are left out.

        Args:
            after: only keys behind this one, in the order of their bytes; the listing begins there
            limit: how many are wanted, so that the store is not asked for more; 0 means all
        """

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        """Return the current object as an event, with its depth, or None."""

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        """Return the object's bytes in chunks, or None."""

    def settled(self, event: StorageEvent) -> bool:
        """Return whether nobody seems to write to this object any more."""

    def why(self, bucket: str, key: str) -> str:
        """Return what the store itself knows to keep an object from being seen, such as a symbolic link, or ""."""


class ObjectWriter(Protocol):
    """Writes and deletes objects."""

    def put(self, bucket: str, key: str, body: bytes, depth: int = 0) -> StorageEvent:
        """Store an object, and return its event."""

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        """Store ``size`` bytes of a file as an object, and return its event."""

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object. Returns False if there was none."""

    def older(self, bucket: str, before: float) -> Iterable[str]:
        """Return the keys of the objects that were last written before that time (s)."""

    def remove_many(self, bucket: str, keys: Sequence[str]) -> int:
        """Delete these objects, and return how many are gone. One that cannot be deleted does not keep the others."""


class BucketAdmin(Protocol):
    """Makes and deletes buckets."""

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
        """Make our notification rules of this bucket exactly these prefixes. Returns True if anything changed.

        Rules of others stay as they are.
        """


class KeyIssuer(Protocol):
    """Makes keys for services."""

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        """Return a key with exactly the policy of this service: the known one if it still fits."""

    def key_problem(self) -> str:
        """Return why Jobs can have no key of their own here although they must, or ""."""

    def drop_credential(self, known: Credential) -> None:
        """Remove a service's key."""


class RunnerAccess(Protocol):
    """Lets the runner of a Job reach the store."""

    def rclone_env(self, remote: str, credential: Credential | None) -> dict[str, str]:
        """Return the variables ``RCLONE_CONFIG_<REMOTE>_*``."""


class ObjectStore(ObjectReader, ObjectWriter, BucketAdmin, Notifier, KeyIssuer, RunnerAccess, Protocol):
    """One store with all that the invoker needs of it."""
