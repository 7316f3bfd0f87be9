# SPDX-License-Identifier: Apache-2.0
"""The declared services on disk: one JSON file each, replaced atomically, with all earlier revisions.

``<folder>/<name>.json`` holds the current entry, ``<folder>/.history/<name>/<revision>.json`` the earlier ones and
``<folder>/.keys/<name>.json`` the service's storage keys. All files are readable by the daemon's user only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from oscar_fedcloud.catalogue.entries import Entry, InputState
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.runtime.waiting import in_words

log = structlog.get_logger(__name__)

__all__ = ["Entry", "FolderRepository", "InputState", "write_atomically"]


class FolderRepository:
    """A service repository in a folder. Not safe for several writers; the daemon is the only one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history_folder = folder / ".history"
        self.keys_folder = folder / ".keys"
        self._damaged: dict[str, str] = {}  # files that cannot be read -> why
        for path in (folder, self.history_folder, self.keys_folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def open(self) -> None:
        """Do nothing: a folder needs no preparation."""

    async def close(self) -> None:
        """Do nothing: there are no open resources."""

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the files that cannot be read; empty if there are none."""
        if not self._damaged:
            return {}
        detail = "; ".join(f"{path}: {error}" for path, error in self._damaged.copy().items())
        return {
            "catalogue": {"ok": False, "detail": f"files that cannot be read, declare these services again: {detail}"}
        }

    def load(self) -> list[Entry]:
        """Return all current entries, sorted by name."""
        found = (self._readable(path) for path in sorted(self.folder.glob("*.json")))
        return [entry for entry in found if entry is not None]

    def _readable(self, path: Path) -> Entry | None:
        """Return the entry in a file, or None if the file is damaged."""
        try:
            entry = msgspec.json.decode(path.read_bytes(), type=Entry)
        except (OSError, ValueError, RecursionError) as error:
            log.error("a file of the catalogue cannot be read", file=str(path), error=str(error))
            self._damaged[str(path)] = in_words(error)
            return None
        self._damaged.pop(str(path), None)
        return entry

    def write(self, entries: Sequence[Entry], removed: Sequence[str]) -> dict[str, Exception]:
        """Save the entries and delete the removed services. An OSError ends the whole change."""
        for name in removed:
            self.remove(name)
        for entry in entries:
            self.save(entry)
        return {}

    def save_inputs(self, entry: Entry) -> None:
        """Save the state of the inputs."""
        self.save(entry)

    def report(self, name: str) -> None:
        """Do nothing: states are kept in memory only."""

    def save(self, entry: Entry) -> None:
        """Write the entry; a current entry with another revision is moved to the history."""
        current = self.folder / f"{entry.name}.json"
        if current.exists():
            self._keep(entry.name, current, entry.revision)
        write_atomically(current, msgspec.json.encode(entry))

    def _keep(self, name: str, current: Path, successor: int) -> None:
        entry = self._readable(current)
        if entry is not None and entry.revision == successor:
            return
        kept = self.history_folder / name / (f"{entry.revision}.json" if entry else "damaged")
        self._damaged.pop(str(current), None)  # it is about to be replaced
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        kept.unlink(missing_ok=True)
        os.link(current, kept)

    def remove(self, name: str) -> None:
        """Delete the service, its history and its keys."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        (self.keys_folder / f"{name}.json").unlink(missing_ok=True)
        shutil.rmtree(self.history_folder / name, ignore_errors=True)

    def history(self, name: str) -> list[Entry]:
        """Return earlier entries of a service, newest first."""
        paths = (self.history_folder / name).glob("*.json")
        entries = [entry for path in paths if (entry := self._readable(path)) is not None]
        return sorted(entries, key=lambda entry: entry.revision, reverse=True)

    def keys(self, name: str) -> dict[str, Credential]:
        """Return the service's storage keys by provider id."""
        try:
            data = (self.keys_folder / f"{name}.json").read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return msgspec.json.decode(data, type=dict[str, Credential])
        except (ValueError, RecursionError) as error:
            log.error("the keys of a service cannot be read, new ones are made", service=name, error=str(error))
            return {}

    def save_keys(self, name: str, keys: Mapping[str, Credential]) -> None:
        """Replace the service's storage keys."""
        write_atomically(self.keys_folder / f"{name}.json", msgspec.json.encode(keys))


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file atomically: after a crash it has either the old or the new content."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
