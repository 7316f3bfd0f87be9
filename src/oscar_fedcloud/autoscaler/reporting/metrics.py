# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics of the autoscaler. Gauges of current state are set with each snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric

from oscar_fedcloud.runtime import unexpected
from oscar_fedcloud.runtime.tasks import Tasks

_REACT = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
_DECIDE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_START = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900)
_WAIT = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """The metrics of an autoscaler, in a separate registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        one, pool = ("oscar_autoscaler_{}".format, ("pool",))
        self.launched = Counter(one("launched"), "Machines asked for", pool, registry=registry)
        self.refused = Counter(one("refused"), "Machines that a cloud refused", pool, registry=registry)
        self.joined = Counter(one("joined"), "Machines that became nodes", pool, registry=registry)
        self.given_up = Counter(one("given_up"), "Machines that did not become nodes in time", pool, registry=registry)
        self.removed = Counter(one("removed"), "Machines removed or stopped", pool, registry=registry)
        self.kept = Counter(
            one("kept"), "Removals called off because the last look found work", pool, registry=registry
        )
        self.decided = Histogram(
            one("decision_seconds"), "Time that a decision took", buckets=_DECIDE, registry=registry
        )
        self.reacted = Histogram(
            one("reaction_seconds"),
            "From noticing that Pods wait to the request to the cloud",
            buckets=_REACT,
            registry=registry,
        )
        self.started = Histogram(
            one("start_seconds"),
            "From asking for a machine to its node being Ready",
            pool,
            buckets=_START,
            registry=registry,
        )
        self.waited = Histogram(
            one("wait_seconds"), "How long Pods were unschedulable", buckets=_WAIT, registry=registry
        )
        self.cloud_errors = Counter(
            one("cloud_errors"), "Calls of a cloud that failed", ("cloud", "call"), registry=registry
        )
        self.reloads = Counter(one("reloads"), "Reloads of the configuration", ("result",), registry=registry)
        self.leading = Gauge(one("leading"), "Whether this autoscaler is the one that acts", registry=registry)
        self.machines = Gauge(one("machines"), "Machines", ("pool", "phase"), registry=registry)
        self.waiting = Gauge(one("waiting_pods"), "Pods that are unschedulable", registry=registry)
        self.cloud_up = Gauge(one("cloud_up"), "Whether a cloud answered last", ("cloud",), registry=registry)
        self.credentials = Gauge(
            one("cloud_credentials_expire_seconds"),
            "When the credentials of a cloud end, seconds since 1970",
            ("cloud",),
            registry=registry,
        )
        self.pool_rests = Gauge(one("pool_rests_seconds"), "How long a pool still rests", pool, registry=registry)

    def show_tasks(self, tasks: Tasks) -> None:
        """Show how often each of these tasks was begun again."""
        self.registry.register(TaskCollector(tasks))


class TaskCollector:
    """Reads the supervision of tasks at each scrape."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the tasks are not known yet when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the restarts of each task, and the failures that no code provided for."""
        restarts = CounterMetricFamily(
            "oscar_autoscaler_task_restarts", "Tasks begun again after a failure", labels=("task",)
        )
        for task, count in self.tasks.restarts().items():
            restarts.add_metric((task,), count)
        yield restarts
        yield CounterMetricFamily(
            "oscar_autoscaler_unexpected_failures", "Failures that no code provided for", value=unexpected.count()
        )
