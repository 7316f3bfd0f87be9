# SPDX-License-Identifier: Apache-2.0
"""A folder served by ``rclone serve s3``: the embedded store of a single machine.

Users may also write into the folder directly. Such a file counts once two listings agree on it and it has not changed
for ``settle`` seconds; a file stored through the server is complete immediately. All Jobs use the same key.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from minio.error import S3Error

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.storage.errors import BucketMissing, BucketNotEmpty, StoreError, StoreFull, WriteRefused
from oscar_fedcloud.storage.folder.fingerprints import Fingerprints, path_of
from oscar_fedcloud.storage.revision import Revision
from oscar_fedcloud.storage.rows import Row
from oscar_fedcloud.storage.s3.store import S3Store

# Headers of the request that stored an object. The server returns them until the file is written otherwise.
_STORED_WITH = frozenset({"x-amz-date", "x-amz-content-sha256"})

_LITTLE = 1024 * 1024  # bytes; a disk with less free space counts as full
_CACHED = 1.1  # s after which the server reads a folder again


class FolderStore(S3Store):
    """A folder of this machine (``config.root``) behind an S3 server."""

    event_source = "minio:s3"
    settle = 2

    # -- objects ---------------------------------------------------------------------------------------------------

    def _rows(self, bucket: str, prefix: str, after: str, limit: int) -> Iterator[Row]:
        return map(self._prints.corrected, super()._rows(bucket, prefix, after, limit))

    def _row(self, bucket: str, key: str) -> Row | None:
        row = super()._row(bucket, key)
        return row and self._prints.verified(row)

    @cached_property
    def _prints(self) -> Fingerprints:
        return Fingerprints(self.config.root)

    def _revision(self, row: Row) -> Revision:
        """Order by the file's change time, which copying tools cannot set, unlike the modification time."""
        found = super()._revision(row)
        return found._replace(order=self._changed(row.bucket, row.key) or found.order)

    def settled(self, event: StorageEvent) -> bool:
        """Return whether the file came through the server, or has not changed for a while."""
        changed = self._changed(event.bucket, event.key)
        if not changed or not 0 <= time.time() - changed / 1e9 < self.config.settle:
            return True
        return self._came_through_server(event.bucket, event.key)

    def _came_through_server(self, bucket: str, key: str) -> bool:
        with self._asking("look up an object of", bucket):
            try:
                head = self._client.stat_object(bucket, key)
            except (S3Error, UnicodeEncodeError):  # gone, or a name that cannot be asked for
                return False
        return any(name.lower() in _STORED_WITH for name in head.metadata or {})

    def _changed(self, bucket: str, key: str) -> int:
        """Return when the file was changed (ns), or 0 if unknown."""
        try:
            return path_of(self.config.root, bucket, key).lstat().st_ctime_ns if self.config.root else 0
        except (OSError, ValueError):  # gone, or a name that the server shows in another form
            return 0

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        """Store a file. Also raises StoreFull, because the server itself reports only a general error."""
        try:
            return super().put_file(bucket, key, file, size, depth)
        except (WriteRefused, BucketMissing):
            raise
        except StoreError as error:
            if full := self._full(size):
                raise StoreFull(f"object {key!r} is not stored in bucket {bucket}: {full}") from error
            raise

    def _full(self, size: int = 0) -> str:
        """Return which disk has no room for so many bytes more, or ""."""
        try:
            disk = os.statvfs(self.config.root) if self.config.root else None
        except OSError:  # problems of the folder are reported elsewhere
            return ""
        if disk is None or disk.f_bavail * disk.f_frsize >= size + _LITTLE:
            return ""
        return f"the disk of storage provider {self.id} ({self.config.root}) is full; make room on it"

    def health(self) -> dict[str, Any]:
        """Return whether the server answers in time and accepts the key, and the disk is not full."""
        found = super().health()
        full = self._full() if found["ok"] else ""
        return {"ok": False, "detail": full} if full else found

    def unstorable(self, bucket: str, key: str) -> str:
        """Return why the folder cannot hold a file of that name, or ""."""
        if (reason := super().unstorable(bucket, key)) or not self.config.root:
            return reason
        root = Path(self.config.root, bucket)
        above = key.split("/")[:-1]
        for end in range(1, len(above) + 1):
            folder = "/".join(above[:end])
            if (root / folder).is_file():
                return f"{bucket}/{folder} is a file, so nothing can lie below it; remove it"
        return f"{bucket}/{key} is a folder" if (root / key).is_dir() else ""

    def ensure_rules(self, bucket: str, prefixes: Sequence[str]) -> bool:
        """Create the folders of inputs, so that files can be copied into them. There are no rules to change."""
        for prefix in prefixes if self.config.root else ():
            try:
                Path(self.config.root, bucket, prefix).mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                at = f"{bucket}/{prefix.rstrip('/')}"
                raise WriteRefused(
                    f"{at} is a file, but a service reads from the folder of that name; remove it"
                ) from None
            except (OSError, ValueError) as error:
                raise StoreError(f"the folder {bucket}/{prefix} cannot be created: {error}") from error
        return False

    def delete_bucket(self, bucket: str, data: bool) -> None:
        """Delete a bucket with all that the server does not show: links, empty folders, names that are not UTF-8."""
        try:
            super().delete_bucket(bucket, data)
        except BucketNotEmpty:
            if not data or not self.config.root:
                raise
            with self._asking("delete", bucket):
                _clear(os.path.join(self.config.root, bucket))
            time.sleep(_CACHED)
            super().delete_bucket(bucket, data)

    def why(self, bucket: str, key: str) -> str:
        """Return what prevents this file from being an input, or ""."""
        if not self.config.root:
            return super().why(bucket, key)
        try:
            place = Path(self.config.root, bucket)
            for part in key.split("/"):
                place /= part
                mode = place.lstat().st_mode
                if stat.S_ISLNK(mode):
                    link = place.relative_to(self.config.root)
                    return f"{link} is a symbolic link; links in the store's folder are not followed, copy the file"
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                return f"{bucket}/{key} is not a regular file"
        except (OSError, ValueError):
            return super().why(bucket, key) or self._full()
        age = time.time() - self._changed(bucket, key) / 1e9
        if 0 <= age < self.config.settle and not self._came_through_server(bucket, key):
            return f"the file was changed {age:.0f} s ago; it counts once it is unchanged for {self.config.settle:g} s"
        return super().why(bucket, key)

    # -- keys ------------------------------------------------------------------------------------------------------

    def key_problem(self) -> str:
        """Return "": the single user of this machine has one key."""
        return ""

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        """Return the store's only key."""
        return Credential(self.config.access_key, self.config.secret_key)

    def drop_credential(self, known: Credential) -> None:
        """Do nothing: the key was not issued for the service."""


def _clear(folder: str) -> None:
    """Remove the content of a folder. Links are removed, not followed."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files + [one for one in folders if os.path.islink(os.path.join(place, one))]:
            os.unlink(os.path.join(place, name))
        if place != folder:
            os.rmdir(place)
