# SPDX-License-Identifier: Apache-2.0
"""What Jobs leave in the store: their log, and a record of how they ended that outlives the Job in the cluster."""

from __future__ import annotations

import contextlib
from typing import Protocol

from oscar_fedcloud.launchers.runner.environment import log_path, outputs_path, record_path
from oscar_fedcloud.launchers.runner.outputs import LIST_MAX
from oscar_fedcloud.launchers.runner.result import RESULT_MAX, Result, parse_result
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.ports import ObjectStore


class Records(Protocol):
    """Methods block."""

    def result(self, job: str) -> Result:
        """What the runner recorded of its end; empty when it recorded nothing, or nobody can tell now."""

    def outputs(self, job: str) -> bytes:
        """The list of all that the runner stored; empty when there is none, or nobody can tell now."""

    def keep_log(self, job: str, log: bytes) -> None:
        """Store the log of a Job whose runner could not do so any more."""


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
        """At most ``limit`` + 1 bytes of an object, which the Job may have written."""
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
