# SPDX-License-Identifier: Apache-2.0
"""Unexpected failures: each is logged with its traceback and counted, wherever it is caught."""

from __future__ import annotations

import itertools
from typing import Any

_numbers = itertools.count(1)
_last = 0


def report(log: Any, event: str, error: BaseException, **fields: Any) -> None:
    """Log a failure that was caught at a boundary, and count it. May be called from any thread."""
    global _last
    _last = next(_numbers)
    log.error(event, exc_info=error, **fields)


def count() -> int:
    """Return the number of failures since the process started."""
    return _last
