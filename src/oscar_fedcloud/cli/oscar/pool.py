# SPDX-License-Identifier: Apache-2.0
"""Threads for transfers. An error or Ctrl-C ends them soon: what has not begun is dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any


@contextlib.contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that are waited for at the end of the block, unless an exception leaves it."""
    pool = ThreadPoolExecutor(count, "transfer")
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def results(futures: Iterator[Future[Any]] | list[Future[Any]]) -> Iterator[Any]:
    """Give the results as they come; the first error is raised."""
    for future in as_completed(futures):
        yield future.result()
