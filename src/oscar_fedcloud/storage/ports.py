# SPDX-License-Identifier: Apache-2.0
"""What the daemon asks of a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol

from oscar_fedcloud.domain.events import StorageEvent, Via
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Service


class Provider(Protocol):
    """All that is special about one store. Methods block, with time limits; they raise ProviderError."""

    id: str
    settle: int  # listings in a row that must agree on an object before it counts

    @property
    def polled(self) -> bool:
        """Whether objects are found by polling alone."""

    # objects

    def parse(self, body: bytes, via: Via = Via.DURABLE) -> list[StorageEvent]:
        """All records of a notification body. Raises BadEvent."""

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterable[StorageEvent]:
        """The current object of each key, as events (via LISTING). Keys that end in ``/`` are left out.

        after: only keys behind this one, in the order of their bytes. The listing begins there.
        limit: how many of them are wanted, so that the store is not asked for more; 0 = all.
        """

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        """The current object as an event, with its depth, or None."""

    def put(self, bucket: str, key: str, body: bytes, depth: int = 0) -> StorageEvent:
        """Store an object (bodies of HTTP events) and say what event it stands for."""

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        """Store ``size`` bytes of a file as an object."""

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        """The object's bytes in chunks, or None."""

    def why(self, bucket: str, key: str) -> str:
        """Return what the store itself knows to keep an object from being seen, such as a symbolic link, or ""."""

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object; False if there was none."""

    def older(self, bucket: str, before: float) -> Iterable[str]:
        """The keys of the objects that were last written before that time (s)."""

    def remove_many(self, bucket: str, keys: Sequence[str]) -> int:
        """Delete these objects; returns how many are gone. One that cannot be deleted does not keep the others."""

    def settled(self, event: StorageEvent) -> bool:
        """Whether nobody seems to write to this object any more."""

    # buckets, rules and keys

    def buckets(self) -> Sequence[str]:
        """The names of all buckets."""

    def ensure_bucket(self, bucket: str) -> bool:
        """Create the bucket if it is missing; True if it was."""

    def delete_bucket(self, bucket: str, data: bool) -> None:
        """Delete the bucket, with all its objects if ``data``."""

    def ensure_rules(self, bucket: str, prefixes: Sequence[str]) -> bool:
        """Make our notification rules of this bucket exactly these prefixes, leave those of others; True if changed."""

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        """A key with exactly the policy of this service; the known one when it still fits."""

    def key_problem(self) -> str:
        """Return why Jobs can have no key of their own here although they must, or ""."""

    def drop_credential(self, known: Credential) -> None:
        """Remove a service's key."""

    def rclone_env(self, remote: str, credential: Credential | None) -> dict[str, str]:
        """Environment ``RCLONE_CONFIG_<REMOTE>_*`` for the runner."""

    # standing

    def clock(self) -> float:
        """The store's own time, in seconds since the epoch."""

    def health(self) -> dict[str, Any]:
        """Whether the store answers: ``{"ok": bool, "detail": str}``."""
