# SPDX-License-Identifier: Apache-2.0
"""Data of Jobs in the store: logs, and records of their ends that outlive the Jobs in the cluster."""

from __future__ import annotations

import contextlib
from typing import Protocol

from oscar_fedcloud.launchers.runner.environment import log_path, outputs_path, record_path
from oscar_fedcloud.launchers.runner.outputs import LIST_MAX
from oscar_fedcloud.launchers.runner.result import RESULT_MAX, Result, parse_result
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.ports import ObjectStore


class Records(Protocol):
    """Records of Jobs. All methods block."""

    def result(self, job: str) -> Result:
        """Return the runner's recorded result, an empty one if there is none or the store does not answer."""

    def outputs(self, job: str) -> bytes:
        """Return the runner's list of outputs, empty if there is none or the store does not answer."""

    def keep_log(self, job: str, log: bytes) -> None:
        """Store the log of a Job whose runner could not store it."""


class StoreRecords:
    """Records in the log bucket of the site's own store."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self.store = store
        self.bucket = bucket

    def result(self, job: str) -> Result:
        """See Records."""
        return parse_result(self._read(record_path(_service(job), job), RESULT_MAX))

    def outputs(self, job: str) -> bytes:
        """See Records."""
        return self._read(outputs_path(_service(job), job), LIST_MAX)

    def _read(self, key: str, limit: int) -> bytes:
        """Return at most ``limit`` + 1 bytes of an object, which the Job may have written."""
        content = b""
        with contextlib.suppress(StoreError):
            for chunk in self.store.read(self.bucket, key) or ():
                content += chunk[: limit + 1 - len(content)]
                if len(content) > limit:
                    break
        return content

    def keep_log(self, job: str, log: bytes) -> None:
        """See Records. Raises StoreError."""
        self.store.put(self.bucket, log_path(_service(job), job), log)


def _service(job: str) -> str:
    return job.rsplit("-", 2)[0]
