# SPDX-License-Identifier: Apache-2.0
"""An unexpected failure in any task of the autoscaler ends neither the process nor the work of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from parts.kube_memory import KubeMemory
from parts.memory_cloud import Bench
from parts.painted_cluster import PaintedCluster

from oscar_fedcloud.autoscaler import controller as controller_module
from oscar_fedcloud.autoscaler.cluster import observe
from oscar_fedcloud.autoscaler.cluster.observe import Observer
from oscar_fedcloud.autoscaler.controller import Controller
from oscar_fedcloud.autoscaler.machines.events import Event
from oscar_fedcloud.autoscaler.names import MACHINES
from oscar_fedcloud.autoscaler.web import create_app
from oscar_fedcloud.kube import ListSnapshot
from oscar_fedcloud.kube.lease import Lease
from oscar_fedcloud.runtime import tasks as supervision
from oscar_fedcloud.runtime.tasks import Tasks

TASKS = ("watch pods", "events 0", "decide", "compare", "history", "lease")


class Unexpected(Exception):
    """What no code provides for."""


class Fault:
    """Raises when it is called, as long as it is on."""

    def __init__(self) -> None:
        self.on = True
        self.passed = 0  # calls since it is off

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.on:
            raise Unexpected("nobody thought of this")
        self.passed += 1


def before(fault: Fault, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the call with the fault in front of it."""

    def both(*args: Any, **kwargs: Any) -> Any:
        fault()
        return call(*args, **kwargs)

    return both


class Site:
    """A controller with a fault in one of its tasks."""

    def __init__(self, bench: Bench, task: str) -> None:
        self.bench = bench
        self.watched = PaintedCluster()
        self.fault = Fault()
        kube: Any = KubeMemory(bench.journal)
        self.lease = Lease(
            kube, "oscar", "oscar-autoscaler", "one", 0.2, clock=lambda: 0.0
        )  # what was renewed never runs out
        observer: Any = self.watched
        bench.context.wake = self.watched.changed.set
        bench.context.may_act = lambda: self.lease.leads
        self.controller = Controller(bench.context, observer, self.lease)
        faulty: dict[str, tuple[Any, str]] = {
            "watch pods": (self.watched, "watch"),
            "events 0": (bench.context.events, "uid_of"),
            "decide": (self.watched, "usage"),
            "compare": (bench.context.machines, "refresh"),
            "history": (bench.context.history, "write"),
            "lease": (kube, "get"),
        }
        part, name = faulty[task]
        setattr(part, name, before(self.fault, getattr(part, name)))
        transport = httpx.ASGITransport(create_app(self.controller))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://autoscaler.example")

    def nudge(self) -> None:
        """Give every task something to do."""
        self.bench.context.events.post(Event("Pod", f"team/{object()}", "Normal", "TriggeredScaleUp", str(object())))
        self.watched.changed.set()
        self.bench.context.sync_soon.set()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await condition():
                self.nudge()
                await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(supervision, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(supervision, "STEADY", 0.2)
    monkeypatch.setattr(controller_module, "_FLUSH", 0.02)


@pytest.mark.parametrize("task", TASKS)
async def test_a_task_that_fails_is_shown_and_goes_on_afterwards(task: str, tmp_path: Path) -> None:
    site = Site(Bench(tmp_path), task)
    await site.controller.start()

    async def fails() -> bool:
        answer = await site.http.get("/readyz")
        tasks = answer.json()["parts"]["tasks"]["detail"]
        return answer.status_code == 503 and "Unexpected: nobody thought of this" in tasks

    async def works() -> bool:
        passed = site.fault.passed > 1 or task == "watch pods"
        return passed and (await site.http.get("/readyz")).status_code == 200

    try:
        await site.until(fails)
        assert f'oscar_autoscaler_task_restarts_total{{task="{task}"}}' in (await site.http.get("/metrics")).text
        assert site.controller.tasks.restarts()[task] > 0
        site.fault.on = False
        await site.until(works)
        site.watched.wait_for(3)

        async def asked() -> bool:
            return bool(site.bench.cloud.batches)

        await site.until(asked)
    finally:
        await site.controller.stop()
        await site.http.aclose()
    others = set(site.controller.tasks.restarts()) - {task, "events 1"}
    assert all(site.controller.tasks.restarts()[other] == 0 for other in others)


async def test_a_lease_task_that_fails_leads_no_more_until_it_took_the_lease_again(tmp_path: Path) -> None:
    site = Site(Bench(tmp_path), "lease")
    site.fault.on = False
    await site.controller.start()

    async def leads() -> bool:
        return site.controller.leads

    async def failed() -> bool:
        return site.controller.tasks.restarts()["lease"] > 0

    try:
        await site.until(leads)
        site.fault.on = True
        await site.until(failed)
        assert not site.lease.leads
        assert not site.controller.leads
        site.bench.journal.clear()
        site.fault.on = False
        await site.until(leads)
        assert f"LIST {MACHINES.path()}" in site.bench.journal  # read again: another one may have led meanwhile
    finally:
        await site.controller.stop()
        await site.http.aclose()


async def test_a_stop_ends_actions_before_it_gives_the_lease_back(tmp_path: Path) -> None:
    site = Site(Bench(tmp_path), "lease")
    site.fault.on = False
    await site.controller.start()

    async def leads() -> bool:
        return site.controller.leads

    await site.until(leads)
    steps: list[str] = []

    async def action() -> None:
        await asyncio.sleep(0.2)
        steps.append(f"action, {'leads' if site.lease.leads else 'leads no more'}")

    release = site.lease.release

    async def noted_release() -> None:
        steps.append("release")
        await release()

    site.lease.release = noted_release  # type: ignore[method-assign]
    write = site.bench.context.history.write
    site.bench.context.history.write = lambda *args: (steps.append("history"), write(*args))  # type: ignore[method-assign,assign]
    site.controller.executor.start(["oscar-small-aaaaa"], action(), "action")
    await site.controller.stop()
    await site.http.aclose()
    assert steps == ["action, leads", "release", "history"]
    assert not site.lease.leads


async def test_a_watch_that_fails_makes_the_picture_doubtful_until_it_is_listed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault = Fault()

    async def watch(client: Any, resource: Any, *args: Any, on_trouble: Callable[[str], None], **options: Any) -> Any:
        yield ListSnapshot([])
        on_trouble("")
        if resource.plural == "pods":
            while not fault.on:  # noqa: ASYNC110  set by the test
                await asyncio.sleep(0.01)
            fault()
        await asyncio.Event().wait()

    monkeypatch.setattr(observe, "watch", watch)
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 1.0)
    nothing: Any = None
    observer, tasks = Observer(nothing), Tasks()
    fault.on = False
    for name, work in observer.works():
        tasks.start(name, work)

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110  read by this test alone
                await asyncio.sleep(0.01)

    await until(lambda: observer.ready)
    fault.on = True
    await until(lambda: bool(observer.troubles))
    assert observer.troubles == {"pods": "Unexpected: nobody thought of this"}
    assert not observer.snapshot(0.0, machines={}, health={}).trustworthy
    fault.on = False
    await until(lambda: not observer.troubles)
    assert observer.snapshot(0.0, machines={}, health={}).trustworthy
    await tasks.close()
