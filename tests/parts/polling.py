# SPDX-License-Identifier: Apache-2.0
"""A poller of one store, without the rest of a daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from oscar_fedcloud.sources.poll import Poller


class CallsInThreads:
    """Stands in for the registry of stores: each call runs in a thread of the default pool."""

    async def run(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        """Return the result of a call."""
        return await asyncio.to_thread(call, *args)


class MissingBuckets:
    """Stands in for the reconciler: notes which buckets are missing."""

    def __init__(self) -> None:
        self.buckets: list[str] = []

    def bucket_missing(self, provider: str, bucket: str) -> None:
        """Note a bucket."""
        self.buckets.append(bucket)


def make_poller(store: Any, sink: Any, interval: float = 1.0, missing: MissingBuckets | None = None) -> Poller:
    """Return a poller of a store. sink: ledger and intake in one (``known``, ``record``)."""
    return Poller(store, CallsInThreads(), sink, sink, missing or MissingBuckets(), interval)  # type: ignore[arg-type]
