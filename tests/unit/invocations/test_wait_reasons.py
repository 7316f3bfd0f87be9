# SPDX-License-Identifier: Apache-2.0
"""What a job waits for, in one list of causes and in words with numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.invocations.wait_reasons import Cause, ServiceFacts, SiteFacts, Wait, summary, wait_of, waits_of

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
EVENT = StorageEvent("minio.default", "pictures", "in/a.jpg", "r1", 1)
READY = ServiceFacts("grayify", "ready", attempts=4)


def run(**changes: Any) -> Run:
    queued = Run("r1", "grayify", EVENT, RunState.QUEUED, "", 0, 0, 0, 0.0, NOW - 60, None)
    return replace(queued, **changes)


def site(service: ServiceFacts = READY, running: int = 0, holder: str = "", **more: Any) -> SiteFacts:
    defaults = {"launching": lambda run: False, "told": lambda run: None, **more}
    return SiteFacts(
        now=NOW, running=running, max_running=3000, service=lambda name: service, holder=lambda run: holder, **defaults
    )


@pytest.mark.parametrize(
    ("waiting", "facts", "code", "detail"),
    [
        (
            run(),
            site(replace(READY, running=2, concurrency=2)),
            Cause.SERVICE_LIMIT,
            "waits for a free place: 2 of 2 jobs of service grayify run",
        ),
        (run(), site(running=3000), Cause.SITE_LIMIT, "waits for a free place: the site runs 3,000 of 3,000 jobs"),
        (run(), site(holder="r0"), Cause.KEY_TURN, "another job of the same key runs (job r0)"),
        (
            run(not_before=NOW + 4.5 * 3600, attempts=1, script_failures=1),
            site(),
            Cause.BACKOFF,
            "tried again at 12:30:00 UTC (attempt 2 of 4)",
        ),
        (
            run(not_before=NOW + 40 * 3600, attempts=3, script_failures=1, infra_failures=2, reason="its node is gone"),
            site(),
            Cause.BACKOFF,
            "tried again at 2027-01-17 00:00:00 UTC (attempt 4 of 6); attempt 3 ended: its node is gone",
        ),
        (
            run(),
            site(ServiceFacts("grayify", "pending", keys_of=["minio.default"])),
            Cause.KEY_PENDING,
            "the key of service grayify for store minio.default is being made",
        ),
        (
            run(),
            site(ServiceFacts("grayify", "pending", "its buckets are being made")),
            Cause.SERVICE_NOT_READY,
            "service grayify is not ready: its buckets are being made",
        ),
        (run(), site(ServiceFacts("grayify", "")), Cause.SERVICE_NOT_READY, "service grayify is not declared"),
        (
            run(),
            site(ServiceFacts("grayify", "error", "storage provider minio.default cannot be reached")),
            Cause.STORE_AWAY,
            "service grayify is in error: storage provider minio.default cannot be reached",
        ),
        (run(), site(), Cause.STARTING, "a place is free, it starts in a moment"),
        (
            run(state=RunState.RUNNING, attempts=1),
            site(launching=lambda run: True),
            Cause.STARTING,
            "its Job is being started",
        ),
        (
            run(state=RunState.RUNNING, attempts=1),
            site(told=lambda run: ("no_node", "no node: 0/3 nodes have 8 CPUs")),
            Cause.NO_NODE,
            "no node: 0/3 nodes have 8 CPUs",
        ),
    ],
)
def test_every_cause_has_its_words(waiting: Run, facts: SiteFacts, code: str, detail: str) -> None:
    assert wait_of(waiting, facts) == Wait(code, detail)


def test_a_job_that_runs_or_has_ended_waits_for_nothing() -> None:
    for state in set(RunState) - {RunState.QUEUED}:
        assert wait_of(run(state=state), site()) is None


@given(
    state=st.sampled_from(["", "pending", "error", "ready"]),
    running=st.integers(0, 5000),
    concurrency=st.integers(0, 5),
    not_before=st.floats(0, NOW + 1e9),
    holder=st.sampled_from(["", "r0", "r1"]),
)
def test_every_queued_job_has_a_reason(
    state: str, running: int, concurrency: int, not_before: float, holder: str
) -> None:
    facts = site(ServiceFacts("grayify", state, "why", (), running, concurrency), running, holder)
    wait = wait_of(run(not_before=not_before), facts)
    assert wait is not None
    assert wait.code in list(Cause)
    assert wait.detail


def test_the_summary_counts_every_queued_job_once() -> None:
    facts = site(replace(READY, running=2, concurrency=2))
    runs = [run(id="a"), run(id="b", not_before=NOW + 60), run(id="c")]
    rows = summary(runs, waits_of(runs, facts), {"grayify": 10}, facts)
    assert {row.code: row.count for row in rows} == {"backoff": 1, "service_limit": 9}
    assert summary(runs, waits_of(runs, facts), {"grayify": 0}, facts) == []
