# SPDX-License-Identifier: Apache-2.0
"""What would start now if there were room: within the limits, and without what is a Job already."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oscar_fedcloud.autoscaler.cluster.backlog import parse
from oscar_fedcloud.autoscaler.cluster.objects import PodSpec
from oscar_fedcloud.autoscaler.cluster.scheduling_groups import shape_of
from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.dispatch.backlog import backlog_rows
from oscar_fedcloud.dispatch.dispatcher import Dispatcher
from oscar_fedcloud.dispatch.policy import Policy
from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, job_name
from oscar_fedcloud.fdl import Retry, Service, from_document
from oscar_fedcloud.invocations.wait_reasons import ServiceFacts, SiteFacts, wait_of
from oscar_fedcloud.launchers.kubernetes.template import make_template
from oscar_fedcloud.launchers.port import JobSpec
from oscar_fedcloud.ledger import Ledger


class SlowLauncher:
    """Starts Jobs when it is let, and ends them when it is told to."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: list[str] = []
        self.ends: asyncio.Queue[Completion] = asyncio.Queue()

    async def start(self, spec: str) -> None:
        await self.open.wait()
        self.started.append(spec)

    async def completions(self) -> AsyncIterator[Completion]:
        while True:
            yield await self.ends.get()

    async def acknowledge(self, job: str) -> None:
        """Nothing is kept of it."""

    async def close(self) -> None:
        """Nothing runs."""


def event(number: int) -> StorageEvent:
    return StorageEvent("minio.default", "bucket", f"in/{number}", f"r{number}", number)


class Daemon:
    """A dispatcher with services of these limits."""

    def __init__(self, ledger: Ledger, max_running: int, **limits: int) -> None:
        self.ledger, self.launcher, self.limits = ledger, SlowLauncher(), limits
        self.dispatcher = Dispatcher(ledger, self.launcher, self, max_running)  # type: ignore[arg-type]

    def policy(self, service: str) -> Policy | None:
        return Policy(self.limits[service], Retry(), "") if service in self.limits else None

    def spec(self, run: Run, attempt: int, written: object) -> str:
        return f"{run.service}/{run.event.key}"

    def run_ended(self) -> None:
        """Nobody waits for it."""

    async def queue(self, service: str, *numbers: int) -> None:
        for number in numbers:
            await self.ledger.record(Recording(event(number), (service,), EventOutcome.MATCHED))

    async def backlog(self) -> dict[str, int]:
        return dict(await self.dispatcher.backlog())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.close()


async def test_within_the_limits_of_services_and_of_the_site(ledger: Ledger) -> None:
    daemon = Daemon(ledger, 4, grayify=2, plants=0)
    await daemon.queue("grayify", *range(5))
    await daemon.queue("unready", 6, 7)
    assert await daemon.backlog() == {"grayify": 2}
    await daemon.queue("plants", *range(10, 20))
    assert await daemon.backlog() == {"grayify": 2, "plants": 2}


async def test_without_what_waits_for_its_time_or_for_its_object(ledger: Ledger) -> None:
    daemon = Daemon(ledger, 100, grayify=0)
    older, newer = event(1), StorageEvent("minio.default", "bucket", "in/1", "r2", 2)
    for each in (older, newer):
        await ledger.record(Recording(each, ("grayify",), EventOutcome.MATCHED))
    assert await daemon.backlog() == {"grayify": 1}, "the newer revision takes the place of the older"


async def test_what_has_begun_counts_until_it_is_a_job(ledger: Ledger) -> None:
    daemon = Daemon(ledger, 100, grayify=0)
    await daemon.queue("grayify", 1, 2, 3)
    daemon.dispatcher.wake(["grayify"])
    tasks = [asyncio.create_task(work) for work in (daemon.dispatcher.dispatch(), daemon.dispatcher.watch())]
    try:
        await until(lambda: daemon.dispatcher.running["grayify"] == 3)
        assert await daemon.backlog() == {"grayify": 3}
        daemon.launcher.open.set()
        await until(lambda: len(daemon.launcher.started) == 3)
        await asyncio.sleep(0)
        assert await daemon.backlog() == {}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await daemon.dispatcher.close()


async def test_a_full_site_has_no_backlog_and_an_end_makes_room(ledger: Ledger) -> None:
    daemon = Daemon(ledger, 1, grayify=0)
    daemon.launcher.open.set()
    await daemon.queue("grayify", 1, 2)
    daemon.dispatcher.wake(["grayify"])
    tasks = [asyncio.create_task(work) for work in (daemon.dispatcher.dispatch(), daemon.dispatcher.watch())]
    try:
        await until(lambda: len(daemon.launcher.started) == 1)
        assert await daemon.backlog() == {}
        job = next(iter(ledger.running()))[1].job
        daemon.launcher.ends.put_nowait(Completion(job, AttemptState.SUCCEEDED, 0))
        await until(lambda: len(daemon.launcher.started) == 2)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await daemon.dispatcher.close()


def waits_of_all(daemon: Daemon) -> Counter[tuple[str, str]]:
    """How many jobs of each service wait for what, told for each job."""
    dispatcher = daemon.dispatcher
    launching = dispatcher.launching()
    facts = SiteFacts(
        now=time.time(),
        running=dispatcher.running.total(),
        max_running=dispatcher.max_running,
        service=lambda name: ServiceFacts(name, "ready", "", (), dispatcher.running[name], daemon.limits.get(name, 0)),
        holder=dispatcher.holder,
        launching=lambda run: job_name(run.service, run.id, run.attempts) in launching,
        told=lambda run: None,
    )
    runs = daemon.ledger.runs(limit=1000)
    return Counter((run.service, wait.code) for run in runs if (wait := wait_of(run, facts)))


async def test_it_agrees_with_what_the_jobs_say_that_they_wait_for(ledger: Ledger) -> None:
    daemon = Daemon(ledger, 4, grayify=2, plants=0)
    await daemon.queue("grayify", *range(5))
    await daemon.queue("plants", *range(10, 20))
    daemon.dispatcher.wake(["grayify", "plants"])
    tasks = [asyncio.create_task(work) for work in (daemon.dispatcher.dispatch(), daemon.dispatcher.watch())]
    try:
        await until(lambda: daemon.dispatcher.running.total() == 4)
        told = waits_of_all(daemon)
        assert await daemon.backlog() == {name: told[name, "starting"] for name in ("grayify", "plants")}
        assert told["grayify", "service_limit"] == 3
        assert told["plants", "site_limit"] == 8
        daemon.launcher.open.set()
        await until(lambda: len(daemon.launcher.started) == 4)
        await asyncio.sleep(0)
        assert await daemon.backlog() == {}
        assert not [code for _, code in waits_of_all(daemon) if code == "starting"]
        again = StorageEvent("minio.default", "bucket", "in/0", "r-newer", 99)
        busy = {run.event.key for run, _ in ledger.running()}
        await ledger.record(
            Recording(replace(again, key=next(iter(busy))), ("plants", "grayify"), EventOutcome.MATCHED)
        )
        assert waits_of_all(daemon).total() == 3 + 8 + 2
        assert sum(count for (_, code), count in waits_of_all(daemon).items() if code == "key_turn") == 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await daemon.dispatcher.close()


async def until(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


# -- shapes ------------------------------------------------------------------------------------------------------------

FIELDS: list[dict[str, Any]] = [
    {},
    {"cpu": "1.5", "memory": "2Gi", "ephemeral_storage_request": "5Gi"},
    {"enable_gpu": True},
    {
        "kubernetes": {
            "gpus": 2,
            "cpu_limit": True,
            "node_selector": {"kind": "gpu"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
        }
    },
]


def service(name: str, **fields: Any) -> Service:
    return from_document({"name": name, "image": "i:1", "script": "true\n", **fields})


def test_services_that_ask_for_the_same_share_a_row() -> None:
    services = {name: service(name) for name in ("a", "b")} | {"c": service("c", cpu="2")}
    rows = backlog_rows({"a": 2, "b": 3, "c": 1, "gone": 7}, services, "nvidia.com/gpu")
    assert [(row.services, row.requests["cpu"]) for row in rows] == [({"a": 2, "b": 3}, "0.2"), ({"c": 1}, "2")]


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("tools", ["image", "copy"])
def test_a_row_has_the_shape_of_the_pod_that_will_come(fields: dict[str, Any], tools: Any) -> None:
    """So that the autoscaler packs both together, and a Job's Pod takes the place that was made for it."""
    asked = service("grayify", **fields)
    settings = KubernetesConfig()
    run = Run("r1", "grayify", event(1), "queued", "", 0, 0, 0, 0.0, 0.0, None)  # type: ignore[arg-type]
    job = JobSpec("j", asked, "1", b"", run, 1, {}, {}, asked.memory_bytes, asked.cpu_cores, 0.0)
    pod = msgspec.json.decode(make_template(job, settings, tools).pod, type=PodSpec)
    row = msgspec.to_builtins(backlog_rows({"grayify": 1}, {"grayify": asked}, settings.gpu_resource)[0])
    assert parse(msgspec.json.encode({"backlog": [row]}))[0].shape == shape_of(pod, "oscar-services")
