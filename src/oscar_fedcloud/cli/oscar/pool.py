# SPDX-License-Identifier: Apache-2.0
"""Threads for transfers. After an error or Ctrl-C, transfers that have not started are dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any


@contextlib.contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Provide threads and wait for them at the end of the block, unless it raises an exception."""
    pool = ThreadPoolExecutor(count, "transfer")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def results(futures: Iterator[Future[Any]] | list[Future[Any]]) -> Iterator[Any]:
    """Yield the results as they complete; the first error is raised."""
    for future in as_completed(futures):
        yield future.result()
