# SPDX-License-Identifier: Apache-2.0
"""The stored form of a service, and the interface of the repositories that store it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service


class InputState(msgspec.Struct, frozen=True):
    """The state of one input of a service.

    Attributes:
        since: the store's time (s) from which on objects count as new.
    """

    since: float
    baselined: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A declared service: its normalised document with secrets, and the reconciler's state of it."""

    name: str
    revision: int
    created: float
    changed: float
    document: dict[str, Any]
    inputs: dict[str, InputState] = {}


class ServiceRepository(Protocol):
    """Stores entries.

    Methods that are not ``async`` block and are called in threads, except ``keys`` and ``report``.
    """

    async def open(self) -> None:
        """Prepare the repository, on the event loop. Raises RepositoryError."""

    async def close(self) -> None:
        """Release all resources."""

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the health of the repository as a part of the daemon; empty if it cannot fail on its own."""

    def load(self) -> list[Entry]:
        """Return all current entries. Raises RepositoryError."""

    def write(self, entries: Sequence[Entry], removed: Sequence[str]) -> dict[str, Exception]:
        """Store these entries, and delete these services with all of their data.

        Return the failures by name: Conflict (the service was changed by another writer) or RepositoryError.
        """

    def save_inputs(self, entry: Entry) -> None:
        """Store the same revision of a service with the new state of its inputs. Raises RepositoryError."""

    def history(self, name: str) -> list[Entry]:
        """Return earlier entries of a service, newest first. Raises RepositoryError."""

    def keys(self, name: str) -> Mapping[str, Credential]:
        """Return the service's storage keys by provider id, from memory or a small file."""

    def save_keys(self, name: str, keys: Mapping[str, Credential]) -> None:
        """Replace the service's storage keys. Raises RepositoryError."""

    def report(self, name: str) -> None:
        """Handle that the state of a service has changed."""


class RepositoryError(Exception):
    """The catalogue's repository does not respond or refuses; the message says why. A retry may help."""


def input_names(service: Service) -> list[str]:
    """Return the inputs of a service as ``provider/bucket/prefix``."""
    return [f"{source.storage_provider}/{source.bucket}/{source.key_prefix}" for source in service.input]
