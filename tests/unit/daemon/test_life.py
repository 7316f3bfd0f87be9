# SPDX-License-Identifier: Apache-2.0
"""The life of the daemon on the in-memory site: what comes back, changes and clocks end and delay nothing else."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from parts.memory_site import Site, on_memory_site, service
from parts.virtual_time import VirtualLoop, run_virtually
from structlog.testing import capture_logs

from oscar_fedcloud.daemon.process import end_threads
from oscar_fedcloud.dispatch.policy import Policy, decode_policy, encode_policy
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run, RunState, StoredObject
from oscar_fedcloud.domain.services import Change
from oscar_fedcloud.fdl import Retry
from oscar_fedcloud.kube import watch
from oscar_fedcloud.kube.resource import ResourceType
from oscar_fedcloud.launchers.port import JobSpec


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with capture_logs():
        yield


async def running(site: Site, name: str, **more: Any) -> str:
    """Declare a service and upload a file for it; its Job, which runs until it is ended."""
    site.launcher.length = None
    await site.declare(name, **more)
    await site.ready(name)
    await site.deliver(site.store.upload(name, "in/a"))
    return next(job for job in await site.until(lambda: site.launcher.live & of_service(site, name)))


def of_service(site: Site, name: str) -> set[str]:
    return {job for job, spec in site.launcher.specs.items() if spec.service.name == name}


HOSTILE: dict[str, dict[str, Any]] = {
    "a huge exit code": {"exit_code": 10**20},
    "a negative exit code": {"exit_code": -(2**70)},
    "an exit code that is text": {"exit_code": "0; DROP"},
    "a long reason": {"reason": "x" * 5_000_000},
    "NUL and surrogates": {"reason": "a\0b\udcff", "summary": "\udcff\0"},
    "no time": {"finished": math.nan},
    "an endless time": {"finished": math.inf},
    "an unknown state": {"state": "exploded"},
    "no state": {"state": None},
    "limits that are no texts": {"limits": {"memory": object()}},
    "outputs that are none": {"outputs": (None, 5)},
    "an output of a huge size": {"outputs": (StoredObject("p", "b", "k\udcff", 10**30, "\0"),)},
    "a huge count": {"outputs_total": 10**30},
}


@pytest.mark.parametrize("restart", [False, True], ids=["same life", "next life"])
@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_a_job_reports_it_ends_and_the_daemon_lives(what: str, restart: bool, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        job = await running(site, "hostile")
        good = await running(site, "good")
        site.launcher.live.discard(job)
        told = {"state": AttemptState.FAILED, "exit_code": 1, "reason": "it failed"} | HOSTILE[what]
        site.launcher.ended[job] = Completion(job, **told)
        if restart:
            await site.restart()
        else:
            site.launcher._told.put_nowait(site.launcher.ended[job])
        site.launcher.end(good)
        await site.quiet()
        (run,) = site.runs(service="hostile")
        assert run.state in (RunState.FAILED, RunState.SUCCEEDED)
        assert run.reason
        assert site.states("good") == ["succeeded"]
        site.check_slots()
        assert not any(site.invoker.tasks.restarts().values())

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("restart", [False, True], ids=["same life", "next life"])
def test_an_attempt_keeps_the_retries_and_callback_of_its_revision(restart: bool, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        job = await running(
            site,
            "svc",
            callback="http://receiver.example/old",
            retry={"attempts": 2, "backoff": 1},
        )
        site.gates.set("store.ensure_credential", "hang")  # the new revision is not ready for long
        await site.declare("svc")
        if restart:
            await site.restart()
        site.launcher.end(job, AttemptState.FAILED)
        await site.until(lambda: site.states("svc") == ["queued"])
        site.gates.lift()
        second = next(iter(await site.until(lambda: site.launcher.live)))
        site.gates.set("store.ensure_credential", "hang")
        await site.declare("svc", callback="http://receiver.example/new")
        site.launcher.end(second)
        await site.until(lambda: site.states("svc") == ["succeeded"])
        assert not site.receiver.taken, "the second attempt began under a revision without a callback"

    on_memory_site(tmp_path, story)


def test_a_job_of_an_updated_service_is_told_of_by_its_own_callback(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        job = await running(site, "svc", callback="http://receiver.example/old")
        site.gates.set("store.ensure_credential", "hang")
        await site.declare("svc", callback="http://receiver.example/new")
        site.launcher.end(job)
        await site.until(lambda: site.receiver.taken)
        assert {url for url, _ in site.receiver.taken} == {"http://receiver.example/old"}

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("text", ["", "{}", "[]", "\0", '{"attempts": "x"}', "[" * 10_000, '{"attempts": 1e999}'])
def test_a_kept_policy_that_is_none(text: str) -> None:
    assert decode_policy(text) is None


def test_a_kept_policy_comes_back() -> None:
    policy = Policy(0, Retry(3, 1.5, 20.0, 7), "https://receiver.example/x")
    assert decode_policy(encode_policy(policy)) == policy


@pytest.mark.parametrize("error", [KeyError("own.store"), RecursionError(), TypeError("no")], ids=repr)
def test_a_job_that_cannot_be_made_ends_with_a_reason(error: Exception, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc", retry={"infrastructure": 1})
        await site.ready("svc")

        def spec(run: Run, attempt: int, written: Sequence[StoredObject]) -> JobSpec:
            raise error

        site.invoker.dispatcher.ports.spec = spec
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: site.states("svc") == ["failed"])
        assert type(error).__name__ in site.runs(service="svc")[0].reason
        site.check_slots()
        assert site.invoker.counters()["unexpected_failures"] >= 2

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("back", [700.0, 40 * 86400.0, 366 * 86400.0])
def test_a_clock_that_is_set_back_delays_a_retry_by_the_longest_backoff_at_most(back: float, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        job = await running(site, "svc", retry={"attempts": 2, "backoff": 3, "backoff_max": 600})
        site.launcher.end(job, AttemptState.FAILED)
        await site.until(lambda: site.states("svc") == ["queued"])
        site.loop.skew = -back
        await site.until(lambda: site.launcher.live, seconds=700)

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", ["launcher.start", "launcher.acknowledge", "launcher.cancel"])
def test_one_job_that_hangs_holds_up_no_other_service(call: str, tmp_path: Path) -> None:
    def is_stuck(first: Any, *rest: Any) -> bool:
        return "stuck" in getattr(first, "job", first)

    async def story(site: Site) -> None:
        for name in ("stuck", "free"):
            await site.declare(name)
            await site.ready(name)
        site.gates.set(call, "hang", match=is_stuck)
        for number in range(40):  # more than start, or are recorded, at the same time
            await site.deliver(site.store.upload("stuck", f"in/{number}"))
        await asyncio.sleep(5)
        if call == "launcher.cancel":
            await asyncio.wait_for(site.invoker.changes.apply(Change(names=("stuck",), state="absent")), 60)
        await site.deliver(site.store.upload("free", "in/a"))
        await site.until(lambda: site.states("free") == ["succeeded"], 200)
        site.gates.lift()
        await site.quiet()
        site.check_slots()

    on_memory_site(tmp_path, story, max_running=100)


def test_a_stop_returns_at_whatever_moment_it_comes(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        for number in range(25):
            event = site.store.upload("svc", f"in/{number}")
            site.invoker.intake.record([event])
            for _ in range(number):
                await asyncio.sleep(0)
            begun = site.loop.time()
            await site.restart()
            assert site.loop.time() - begun < 25, "systemd kills after 30 s"
        await site.quiet()
        assert set(site.states("svc")) == {"succeeded"}

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe", b'{"name":"svc","revision":1}', b"[" * 100_000])
@pytest.mark.parametrize("part", ["{name}.json", ".keys/{name}.json"])
def test_a_damaged_file_of_the_catalogue_stops_its_service_alone(part: str, damage: bytes, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        for name in ("svc", "good"):
            await site.declare(name)
            await site.ready(name)
        await site.stop()
        (site.folder / "services" / part.format(name="svc")).write_bytes(damage)
        await site.start()
        await site.deliver(site.store.upload("good", "in/a"))
        await site.until(lambda: site.states("good") == ["succeeded"])
        if not part.startswith(".keys"):
            assert "svc" in site.invoker.readiness()["catalogue"]["detail"]
            await site.declare("svc")
        await site.ready("svc")
        await site.until(lambda: all(one["ok"] for one in site.invoker.readiness().values()))
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: site.states("svc") == ["succeeded"])

    on_memory_site(tmp_path, story)


def test_a_document_that_this_version_refuses_stops_its_service_alone(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        for name in ("svc", "good"):
            await site.declare(name)
        await site.stop()
        file = site.folder / "services" / "svc.json"
        entry = json.loads(file.read_text())
        entry["document"]["script"] = 5
        file.write_text(json.dumps(entry))
        await site.start()
        await site.ready("good")
        assert "svc" in site.invoker.readiness()["catalogue"]["detail"]

    on_memory_site(tmp_path, story)


def test_a_change_goes_to_its_end_when_who_asked_gives_up(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.gates.set("catalogue.write", "hang")
        asked = asyncio.create_task(site.invoker.changes.apply(Change(documents=(service("svc"),))))
        await asyncio.sleep(5)
        asked.cancel()
        await asyncio.sleep(5)
        site.gates.lift()
        await site.ready("svc")

    on_memory_site(tmp_path, story)


class Brief:
    """A Kubernetes API whose watches end at once, or answer what is no event."""

    def __init__(self, lines: list[bytes]) -> None:
        self.lines, self.requests = lines, 0
        self.content, self.connection = self, None

    async def list_versioned(self, *args: Any, **options: Any) -> tuple[list[Any], str]:
        return [], "1"

    @asynccontextmanager
    async def stream(self, *args: Any) -> AsyncIterator[Brief]:
        self.requests += 1
        yield self

    async def iter_any(self) -> AsyncIterator[bytes]:
        for line in self.lines:
            yield line


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"2"}}}\n'],
        [b"garbage\n"],
        [b'{"type":"ADDED"}\n'],
        [b'{"type":"ERROR","object":7}\n'],
        [b"[" * 100_000 + b"\n"],
    ],
    ids=["nothing", "one event", "garbage", "no object", "no error", "deep"],
)
def test_a_watch_that_ends_at_once_is_not_begun_again_without_a_pause(lines: list[bytes]) -> None:
    async def life(loop: VirtualLoop) -> None:
        client: Any = Brief(lines)

        async def follow() -> None:
            async for _ in watch(client, ResourceType("v1", "pods", "ns"), dict):
                pass

        task = asyncio.create_task(follow())
        await asyncio.sleep(120)
        assert not task.done()
        assert 20 < client.requests < 80
        task.cancel()
        await asyncio.wait([task])

    run_virtually(life)


def test_threads_that_hang_do_not_keep_the_process() -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Event

    held, pool = Event(), ThreadPoolExecutor(1)
    pool.submit(held.wait, 30)
    assert not end_threads(pool, 0.1)
    held.set()
    assert end_threads(pool, 10.0)
