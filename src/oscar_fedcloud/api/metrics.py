# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus, read from the daemon at each scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.routing import TEXT, Route
from oscar_fedcloud.daemon.invoker import Invoker


class CoreCollector:
    """Reads the ledger and the catalogue at each scrape, so that nothing is counted twice."""

    def __init__(self, invoker: Invoker) -> None:
        self.invoker = invoker

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registration does not read the ledger."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics. Blocks on the ledger."""
        jobs = GaugeMetricFamily("oscar_jobs", "Jobs in the ledger", labels=("service", "state"))
        for service, states in self.invoker.ledger.counts().items():
            for state, count in states.items():
                jobs.add_metric((service, state), count)
        yield jobs
        yield self._services()
        parts = GaugeMetricFamily("oscar_ready", "Whether a part is fit for work", labels=("part",))
        for name, part in self.invoker.readiness().items():
            parts.add_metric((name,), float(bool(part["ok"])))
        yield parts
        for name, value in self.invoker.ledger.stats().items():
            yield CounterMetricFamily(f"oscar_ledger_{name}", "Counted by the ledger since start", value=value)
        for name, value in self.invoker.counters().items():
            yield CounterMetricFamily(f"oscar_{name}", "Counted by the daemon since start", value=value)
        yield self._restarts()

    def _restarts(self) -> Metric:
        family = CounterMetricFamily("oscar_task_restarts", "Tasks begun again after a failure", labels=("task",))
        for task, count in self.invoker.tasks.restarts().items():
            family.add_metric((task,), count)
        return family

    def _services(self) -> Metric:
        states = dict.fromkeys(("ready", "pending", "error"), 0)
        for declared in self.invoker.catalogue.all_declared():
            states[declared.state] += 1
        family = GaugeMetricFamily("oscar_services", "Declared services", labels=("state",))
        for state, count in states.items():
            family.add_metric((state,), count)
        return family


async def get_metrics(ctx: RequestContext) -> Response:
    """Return all metrics in the Prometheus text format."""
    text = await asyncio.to_thread(generate_latest, ctx.api.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


ROUTES = (Route("GET", "/metrics", handler=get_metrics, summary="Figures for Prometheus", kind="figures", answer=TEXT),)
