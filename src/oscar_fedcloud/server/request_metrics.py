# SPDX-License-Identifier: Apache-2.0
"""Counts and times the requests that the API serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram


@dataclass
class Outcome:
    """The outcome of a request, set while it is served."""

    status: int = 500


class RequestMetrics:
    """Requests by route and status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ("method", "route", "status")
        self._seconds = Histogram(
            "oscar_http_request_seconds", "Time until a request was answered", names, registry=registry
        )

    @contextmanager
    def timed(self, method: str, route: str) -> Iterator[Outcome]:
        """Observe one request."""
        began = time.perf_counter()
        outcome = Outcome()
        try:
            yield outcome
        finally:
            self._seconds.labels(method, route, str(outcome.status)).observe(time.perf_counter() - began)
