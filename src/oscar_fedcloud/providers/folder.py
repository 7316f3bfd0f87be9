# SPDX-License-Identifier: Apache-2.0
"""``rclone serve s3`` on a plain folder: the embedded store of a single machine.

Users may also write into the folder directly, so a file counts only when two listings agree on it. All use one key.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from minio.datatypes import Object

from oscar_fedcloud.model import StorageEvent
from oscar_fedcloud.providers.s3 import S3Provider


class FolderProvider(S3Provider):
    """A provider for a folder of this machine (``config.root``) behind an S3 server."""

    event_source = "minio:s3"
    settle = 2

    def _event(self, row: Object, metadata: dict[str, str] | None = None) -> StorageEvent:
        event = super()._event(row, metadata)
        return replace(event, order=self._changed(event) or event.order)

    def _changed(self, event: StorageEvent) -> int:
        """When the file last changed, in ns. Unlike its modification time, no copying tool can set that back."""
        if not self.config.root:
            return 0
        try:
            return os.lstat(Path(self.config.root, event.bucket, event.key)).st_ctime_ns
        except (OSError, ValueError):  # gone, or a name that the server shows in another form
            return 0
