# SPDX-License-Identifier: Apache-2.0
"""What the catalogue keeps of a service, and the interface of the stores that keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service


class InputState(msgspec.Struct, frozen=True):
    """What is known of one input of a service. since: the store's time (s) from which on objects count as new."""

    since: float
    baselined: bool = False


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A declared service: its normalised document with secrets, and what the reconciler must remember of it."""

    name: str
    revision: int
    created: float
    changed: float
    document: dict[str, Any]
    inputs: dict[str, InputState] = {}


class ServiceRepository(Protocol):
    """Keeps entries. What is not ``async`` blocks and is called in threads, but for ``keys`` and ``report``."""

    async def open(self) -> None:
        """Make the store ready, on the event loop. Raises RepositoryError."""

    async def close(self) -> None:
        """Let go of everything."""

    def health(self) -> dict[str, dict[str, Any]]:
        """The store as a part of the daemon with whether it works; empty if it cannot fail by itself."""

    def load(self) -> list[Entry]:
        """All current entries. Raises RepositoryError."""

    def write(self, entries: Sequence[Entry], removed: Sequence[str]) -> dict[str, Exception]:
        """Keep these entries and forget these services with all that belongs to them.

        Returns what failed, by name: Conflict (somebody else changed the service meanwhile) or RepositoryError.
        """

    def save_inputs(self, entry: Entry) -> None:
        """The same revision of a service, of whose inputs more is known now. Raises RepositoryError."""

    def history(self, name: str) -> list[Entry]:
        """Earlier entries of a service, newest first. Raises RepositoryError."""

    def keys(self, name: str) -> Mapping[str, Credential]:
        """The service's storage keys by provider id, from memory or a small file."""

    def save_keys(self, name: str, keys: Mapping[str, Credential]) -> None:
        """Replace the service's storage keys. Raises RepositoryError."""

    def report(self, name: str) -> None:
        """The standing of a service has changed."""


class RepositoryError(Exception):
    """The catalogue's store does not answer or refuses; the message says what. Trying again may help."""


def input_names(service: Service) -> list[str]:
    """The inputs of a service as ``provider/bucket/prefix``."""
    return [f"{source.storage_provider}/{source.bucket}/{source.key_prefix}" for source in service.input]
