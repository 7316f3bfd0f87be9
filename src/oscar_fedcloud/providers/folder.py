# SPDX-License-Identifier: Apache-2.0
"""``rclone serve s3`` on a plain folder: the embedded store of a single machine.

Users may also write into the folder directly, so a file counts only when two listings agree on it. All use one key.
"""

from __future__ import annotations

import os

from oscar_fedcloud.providers.listing import Row
from oscar_fedcloud.providers.revision import Revision
from oscar_fedcloud.providers.s3 import S3Provider


class FolderProvider(S3Provider):
    """A provider for a folder of this machine (``config.root``) behind an S3 server."""

    event_source = "minio:s3"
    settle = 2

    def _revision(self, row: Row) -> Revision:
        """The order is by the file's change: unlike its modification time, no copying tool can set that back."""
        found = super()._revision(row)
        return found._replace(order=self._changed(row) or found.order)

    def unstorable(self, bucket: str, key: str) -> str:
        """Return why the folder cannot hold a file of that name, or ""."""
        if (reason := super().unstorable(bucket, key)) or not self.config.root:
            return reason
        root = os.path.join(self.config.root, bucket)
        above = key.split("/")[:-1]
        for end in range(1, len(above) + 1):
            folder = "/".join(above[:end])
            if os.path.isfile(os.path.join(root, folder)):
                return f"{bucket}/{folder} is a file, so nothing can lie below it; remove it"
        return f"{bucket}/{key} is a folder" if os.path.isdir(os.path.join(root, key)) else ""

    def _changed(self, row: Row) -> int:
        if not self.config.root:
            return 0
        try:
            return os.lstat(os.path.join(self.config.root, row.bucket, row.key)).st_ctime_ns
        except (OSError, ValueError):  # gone, or a name that the server shows in another form
            return 0
