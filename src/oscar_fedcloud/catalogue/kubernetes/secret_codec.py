# SPDX-License-Identifier: Apache-2.0
"""The Secret of a service: its revisions with all secrets, its storage keys, and a rejected document.

A revision is stored as ``revision-<number>``: the entry as JSON, compressed if it is long. So the Secret is readable,
and many revisions of a long script still fit.
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from oscar_fedcloud.catalogue.entries import Entry
from oscar_fedcloud.catalogue.kubernetes.names import MANAGED_BY, SECRET_TYPE, SERVICE_LABEL, secret_name
from oscar_fedcloud.domain.stores import Credential

Data = dict[str, str | None]  # of a Secret: encoded values; None removes one

KEYS = "keys"
REFUSED = "refused"
_REVISION = re.compile(r"revision-([0-9]+)")
_LONG = 16 * 1024  # bytes from which on a revision is compressed
_GZIP = b"\x1f\x8b"
_ROOM = 900 * 1024  # bytes for all revisions; Kubernetes allows 1 MiB for a Secret


def revision_data(entry: Entry) -> Data:
    """Encode an entry. The state of its inputs is in the object's status."""
    plain = msgspec.json.encode(msgspec.structs.replace(entry, inputs={}))
    return {f"revision-{entry.revision}": _encode(gzip.compress(plain, mtime=0) if len(plain) > _LONG else plain)}


def keys_data(keys: Mapping[str, Credential]) -> Data:
    """Encode the service's storage keys."""
    return {KEYS: _encode(msgspec.json.encode(keys))}


def refused_data(document: Mapping[str, Any] | None) -> Data:
    """Encode a rejected document; None removes it."""
    return {REFUSED: None if document is None else _encode(msgspec.json.encode(document))}


def secret_manifest(service: str, data: Data) -> dict[str, Any]:
    """Return the Secret of a service."""
    metadata = {"name": secret_name(service), "labels": {**MANAGED_BY, SERVICE_LABEL: service}}
    kept = {name: value for name, value in data.items() if value is not None}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": SECRET_TYPE, "data": kept}


class SecretRecord:
    """The content of a service's Secret, decoded on access."""

    def __init__(self, secret: Mapping[str, Any]) -> None:
        self.service = str(secret["metadata"]["labels"][SERVICE_LABEL])
        self._data: dict[str, str] = dict(secret.get("data") or {})

    @property
    def sizes(self) -> dict[int, int]:
        """Return the stored revisions with the size of each in bytes."""
        numbers = {name: match for name in self._data if (match := _REVISION.fullmatch(name))}
        return {int(match[1]): len(self._data[name]) * 3 // 4 for name, match in numbers.items()}

    def entry(self, revision: int) -> Entry | None:
        """Return a revision, or None if it is not stored."""
        value = self._data.get(f"revision-{revision}")
        if value is None:
            return None
        plain = base64.b64decode(value)
        return msgspec.json.decode(gzip.decompress(plain) if plain.startswith(_GZIP) else plain, type=Entry)

    def current(self, revision: int) -> Entry | None:
        """Return this revision, or the newest if it is not stored, as after a restore of objects without status."""
        return self.entry(revision) or self.entry(max(self.sizes, default=0))

    def history(self, before: int) -> list[Entry]:
        """Return the revisions before this one, newest first."""
        return [
            found for number in sorted(self.sizes, reverse=True) if number < before and (found := self.entry(number))
        ]

    def after(self, revision: int) -> list[Entry]:
        """Return the revisions after this one, whose writing was interrupted, newest first."""
        return [
            found for number in sorted(self.sizes, reverse=True) if number > revision and (found := self.entry(number))
        ]

    @property
    def keys(self) -> dict[str, Credential]:
        """Return the service's storage keys by provider id."""
        value = self._data.get(KEYS)
        return msgspec.json.decode(base64.b64decode(value), type=dict[str, Credential]) if value else {}

    @property
    def refused(self) -> dict[str, Any]:
        """Return the rejected document with its secrets; empty if there is none."""
        value = self._data.get(REFUSED)
        return msgspec.json.decode(base64.b64decode(value), type=dict[str, Any]) if value else {}


def superfluous(sizes: Mapping[int, int], current: int, most: int) -> Iterable[int]:
    """Return the revisions to delete: those after the current one, all but ``most`` before it, and those too large."""
    room, kept = _ROOM - sizes.get(current, 0), 0
    for number in sorted(sizes, reverse=True):
        if number == current:
            continue
        if number < current and kept < most and sizes[number] <= room:
            room, kept = room - sizes[number], kept + 1
        else:
            yield number


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
