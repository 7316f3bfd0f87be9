# SPDX-License-Identifier: Apache-2.0
"""Every call that leaves the daemon fails, before and after it took effect, hangs and returns garbage, in turn.

The calls are found by introspection, so that a new one is covered, or fails ``test_no_call_is_left_out``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import pytest
from parts.fault_walk import AT_START, AT_STOP, BOUNDARIES, BY_REQUEST, CALLS, ENDS_START, ON_LOOP, WALKED, healthy
from parts.memory_site import POLLED, Kind, Site, on_memory_site
from structlog.testing import capture_logs

from oscar_fedcloud.domain.runs import AttemptState, RunState
from oscar_fedcloud.domain.services import Change

LARGE = b'{"key": "' + 60_000 * b"x" + b'"}'  # a record that the ledger leaves out of its lists


class Day:
    """What people do in a day, under whatever fault. ``errors``: what requests were answered."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self.errors: list[str] = []
        self.failures = site.invoker.counters()["unexpected_failures"]

    async def ask(self, work: Awaitable[Any]) -> Any:
        """A request: its error is an answer, and who asks does not wait for ever."""
        try:
            async with asyncio.timeout(40):
                return await work
        except Exception as error:
            self.errors.append(repr(error))
            return None

    async def spend(self) -> None:
        site, name = self.site, self.name
        more = {"callback": "http://receiver.example/done", "retry": {"attempts": 2, "backoff": 1}}
        await self.ask(site.declare(name, **more))
        await self.ask(site.declare(f"{name}-old"))
        await self.ask(site.declare(f"{name}-polled", POLLED))
        site.launcher.ends[name] = AttemptState.FAILED
        site.polled.upload(f"{name}-polled", "in/p")
        for bucket in (site.config.internal_bucket, site.config.log_bucket):
            site.store.put_old(bucket, f"{name}/old.log")
        delivered = asyncio.create_task(site.deliver(site.store.upload(name, "in/a")))
        await asyncio.sleep(30)
        site.launcher.ends[name] = AttemptState.SUCCEEDED
        await self.ask(site.invoker.invocations.submit(name, b"a body", idempotency_key="once"))
        await asyncio.sleep(10)
        site.launcher.length = None
        for key in ("in/b", "in/c"):
            event = replace(site.store.upload(name, key), record=LARGE)
            await asyncio.wait([asyncio.create_task(site.deliver(event))], timeout=20)
        await asyncio.sleep(10)
        for run in site.runs(service=name, states=[RunState.QUEUED, RunState.RUNNING]):
            await self.ask(site.invoker.invocations.cancel(run.id))
        for run in site.runs(service=name, states=[RunState.CANCELLED, RunState.FAILED])[:1]:
            await self.ask(site.invoker.invocations.retry(run.id))
        site.launcher.length = 1.0
        for job in list(site.launcher.live):
            site.launcher.end(job)
        await self.ask(site.invoker.changes.apply(Change(names=(f"{name}-old",), state="absent", data="delete")))
        await self.ask(site.invoker.backlog())
        await asyncio.sleep(1)
        await self.ask(site.invoker.backlog())
        parts = await self.ask(asyncio.to_thread(site.invoker.readiness))
        self.errors += [f"{part} is not ready" for part, one in (parts or {}).items() if not one["ok"]]
        await asyncio.sleep(120)  # listings, checks and housekeeping come round
        self.delivered = delivered


def signs(site: Site, day: Day) -> list[str]:
    """Where the trouble shows."""
    shown = [name for name, part in site.invoker.readiness().items() if not part["ok"]]
    shown += [f"service {one.service.name}" for one in site.invoker.catalogue.all_declared() if one.state == "error"]
    shown += [f"restarts of {task}" for task, count in site.invoker.tasks.restarts().items() if count]
    shown += [f"run {run.id}" for run in site.runs() if run.reason and run.state is not RunState.CANCELLED]
    if site.invoker.counters()["unexpected_failures"] > day.failures:
        shown.append("counter")
    return shown + day.errors


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with mock.patch("oscar_fedcloud.daemon.housekeeping._INTERVAL", 60.0), capture_logs():
        yield


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("call", WALKED)
def test_the_daemon_lives_through(call: str, kind: Kind, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("steady")
        await site.ready("steady")
        fault = site.gates.set(call, kind, None if kind == "hang" else 3)
        day = Day(site, "item")
        await day.spend()
        hit = fault.hits > 0
        site.gates.lift()
        if hit and kind in ("before", "after"):  # what returns garbage that nobody looks at does no harm
            assert signs(site, day), "nothing tells of the trouble"
        await day.delivered
        await healthy(site)
        await site.restart()
        await healthy(site)
        assert max(site.launcher.begun.values()) <= 6
        assert hit, f"no {call} in a day: {sorted(site.gates.calls)}"

    on_memory_site(tmp_path, story, poll_interval=20.0, listing_interval=50.0, reconcile_interval=50.0)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("call", ["launcher.adopt", "ledger.running", "ledger.services_waiting"])
def test_jobs_of_an_earlier_life_are_adopted_or_end_with_a_reason(call: str, kind: Kind, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.launcher.length = None
        for name in ("steady", "item"):
            await site.declare(name)
            await site.ready(name)
            await site.deliver(site.store.upload(name, "in/a"))
        await site.until(lambda: len(site.launcher.live) == 2)
        await site.stop()
        fault = site.gates.set(call, kind, None if kind == "hang" else 3)
        await site.start()
        await asyncio.sleep(20)
        shown = kind == "hang" or site.invoker.counters()["unexpected_failures"]
        site.gates.lift()
        await asyncio.sleep(60)
        assert fault.hits
        assert shown
        site.check_slots()
        site.launcher.length = 1.0
        for job in list(site.launcher.live):
            site.launcher.end(job)
        await healthy(site)
        assert set(site.launcher.begun.values()) == {1}, "a script ran twice"

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("call", sorted(AT_STOP))
def test_a_stop_is_bounded_whatever_fails(call: str, kind: Kind, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("steady")
        await site.ready("steady")
        site.gates.set(call, kind)
        begun = site.loop.time()
        await site.stop()
        assert site.loop.time() - begun < 25, "systemd kills after 30 s"
        site.gates.lift()
        await asyncio.sleep(1)
        await site.start()
        await site.deliver(site.store.upload("steady", "in/a"))
        await site.quiet()
        assert site.states("steady") == ["succeeded"]

    on_memory_site(tmp_path, story)


def test_no_call_is_left_out() -> None:
    left_out = (BY_REQUEST | AT_START | AT_STOP) - set(CALLS)
    assert not left_out, "these are no calls any more"
    assert len(BY_REQUEST | AT_START | AT_STOP) <= 39, "a new call is walked in a day"
    assert len(WALKED) == len(CALLS) - len(BY_REQUEST | AT_START | AT_STOP)


def test_what_is_called_on_the_event_loop_answers_from_memory(tmp_path: Path) -> None:
    async def story(site: Site) -> set[str]:
        await site.declare("steady")
        await Day(site, "item").spend()
        return {call for call in site.gates.on_loop if not is_task(call)}

    found = on_memory_site(tmp_path, story, poll_interval=20.0) - ENDS_START
    assert found <= ON_LOOP


def is_task(call: str) -> bool:
    """Whether a call is awaited, so that it does not hold up the event loop."""
    boundary, _, name = call.partition(".")
    found = getattr(BOUNDARIES[boundary], name)
    return inspect.iscoroutinefunction(found) or name == "completions"
