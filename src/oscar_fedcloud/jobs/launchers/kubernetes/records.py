# SPDX-License-Identifier: Apache-2.0
"""What Jobs leave in the store: their log, and a record of how they ended that outlives the Job in the cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Protocol

from oscar_fedcloud.jobs.environment import log_path, record_path
from oscar_fedcloud.jobs.launchers.result import parse_result
from oscar_fedcloud.model import Provider
from oscar_fedcloud.providers.errors import ProviderError

_LARGEST = 64 * 1024  # bytes of a record; the runner writes a few hundred


class Records(Protocol):
    """Methods block."""

    def result(self, job: str) -> Mapping[str, str]:
        """What the runner recorded of its end; empty when it recorded nothing, or nobody can tell now."""

    def keep_log(self, job: str, log: bytes) -> None:
        """Store the log of a Job whose runner could not do so any more."""


class StoreRecords:
    """Records in the log bucket of the site's own store."""

    def __init__(self, store: Provider, bucket: str) -> None:
        self.store = store
        self.bucket = bucket

    def result(self, job: str) -> Mapping[str, str]:
        """See Records."""
        with contextlib.suppress(ProviderError):
            chunks = self.store.read(self.bucket, record_path(_service(job), job))
            content = b"".join(chunks or ())[:_LARGEST]
            return parse_result(content.decode(errors="replace").splitlines())
        return {}

    def keep_log(self, job: str, log: bytes) -> None:
        """See Records. Raises ProviderError."""
        self.store.put(self.bucket, log_path(_service(job), job), log)


def _service(job: str) -> str:
    return job.rsplit("-", 2)[0]
