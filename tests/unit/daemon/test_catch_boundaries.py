# SPDX-License-Identifier: Apache-2.0
"""What fails is one piece of work: it is told of and tried again, and holds up no other. No task is begun again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parts.memory_site import POLLED, SITE, Site, Unexpected, on_memory_site
from parts.virtual_time import VirtualLoop, run_virtually
from structlog.testing import capture_logs

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, RunState
from oscar_fedcloud.domain.services import Change
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.runtime.threads import Threads
from oscar_fedcloud.storage import stores as registry
from oscar_fedcloud.storage.errors import StoreError, UnusableRows
from oscar_fedcloud.storage.stores import StoreCalls, StoreRegistry

LARGE = b'{"key": "' + 60_000 * b"x" + b'"}'  # a record that the ledger leaves out of its lists


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with capture_logs():
        yield


def of_bad(*args: Any, **more: Any) -> bool:
    """Whether a call is for the service ``bad``."""
    return "bad" in str(args[0])


def no_task_failed(site: Site) -> bool:
    return not any(site.invoker.tasks.restarts().values())


@pytest.mark.parametrize(
    ("call", "error", "good"),
    [
        ("store.ensure_bucket", StoreError, SITE),
        ("store.ensure_rules", StoreError, SITE),
        ("store.list", StoreError, SITE),
        ("store.ensure_credential", StoreError, SITE),
        ("store.ensure_credential", Unexpected, SITE),
        ("store.ensure_bucket", Unexpected, POLLED),  # its store has a lane of its own
        ("store.list", Unexpected, POLLED),
        ("catalogue.keys", Unexpected, SITE),
    ],
)
def test_a_service_that_cannot_be_made_ready_holds_up_no_other(
    call: str, error: Callable[[str], Exception], good: str, tmp_path: Path
) -> None:
    async def story(site: Site) -> None:
        failures = site.invoker.counters()["unexpected_failures"]
        site.gates.set(call, "before", match=of_bad, error=error)
        await site.declare("bad")
        await site.declare("good", good)
        await site.ready("good")
        await site.until(lambda: site.invoker.catalogue.declared("bad").state == "error")
        assert site.invoker.catalogue.declared("bad").reason
        assert no_task_failed(site)
        if error is StoreError:  # which a store may raise at any time
            assert site.invoker.counters()["unexpected_failures"] == failures
        site.gates.lift()
        await site.ready("bad")

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", ["store.ensure_bucket", "store.ensure_rules"])
def test_an_unexpected_error_for_one_bucket_holds_up_no_other_of_its_store(call: str, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        for name in ("bad", "good"):
            await site.declare(name)
            await site.ready(name)
        site.gates.set(call, "before", match=of_bad)
        site.invoker.reconciler.changed(("bad", "good"))
        await site.until(lambda: site.invoker.catalogue.declared("bad").state == "error")
        assert call in site.invoker.catalogue.declared("bad").reason
        assert site.invoker.catalogue.declared("good").state == "ready"
        assert no_task_failed(site)
        site.gates.lift()
        await site.ready("bad")

    on_memory_site(tmp_path, story)


def test_keys_that_cannot_be_read_are_made_anew(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        await site.stop()
        fault = site.gates.set("catalogue.keys", "before", 1)
        await site.start()
        assert fault.hits == 1
        await site.ready("svc")

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", ["ledger.due", "ledger.next_due", "ledger.begin"])
def test_a_queue_that_fails_holds_up_no_other(call: str, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        for name in ("bad", "good"):
            await site.declare(name)
            await site.ready(name)
        site.gates.set(call, "before", match=of_bad)
        await asyncio.gather(*(site.deliver(site.store.upload(name, "in/a")) for name in ("bad", "good")))
        await site.until(lambda: site.states("good") == ["succeeded"])
        assert site.states("bad") == ["queued"]
        assert "queue of service bad" in site.invoker.tasks.health()["detail"]
        assert no_task_failed(site)
        site.gates.lift()
        await site.until(lambda: site.states("bad") == ["succeeded"])
        assert site.invoker.tasks.health()["ok"]

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", ["ledger.due", "ledger.begin", "ledger.callbacks_due", "ledger.attempt_by_job"])
def test_a_ledger_that_is_away_is_waited_for(call: str, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc", callback="http://receiver.example/done")
        await site.ready("svc")
        failures = site.invoker.counters()["unexpected_failures"]
        fault = site.gates.set(call, "before", 3, error=LedgerUnavailable)
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: fault.hits == 3)
        await site.until(lambda: site.receiver.taken)
        assert site.states("svc") == ["succeeded"]
        assert no_task_failed(site)
        assert site.invoker.counters()["unexpected_failures"] == failures

    on_memory_site(tmp_path, story)


def test_a_callback_that_cannot_be_made_waits(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc", callback="http://receiver.example/done")
        await site.ready("svc")
        failures = site.invoker.counters()["unexpected_failures"]
        site.gates.set("ledger.attempts", "before", 3)
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: site.receiver.taken)
        assert site.invoker.counters()["unexpected_failures"] == failures + 3
        assert no_task_failed(site)

    on_memory_site(tmp_path, story)


def test_the_start_of_a_job_waits_for_its_record(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        fault = site.gates.set("ledger.record_of", "before", 3, error=LedgerUnavailable)
        await site.deliver(replace(site.store.upload("svc", "in/a"), record=LARGE))
        await site.quiet()
        assert fault.hits == 3
        assert [(run.state, run.attempts) for run in site.runs()] == [(RunState.SUCCEEDED, 1)]

    on_memory_site(tmp_path, story)


def test_a_start_that_fails_is_tried_again_in_the_same_attempt(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        site.gates.set("launcher.start", "before", 2)
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.quiet()
        assert [(run.state, run.attempts) for run in site.runs()] == [(RunState.SUCCEEDED, 1)]

    on_memory_site(tmp_path, story)


def test_a_start_that_fails_in_the_end_is_called_off(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.launcher.length = None
        await site.declare("svc", retry={"infrastructure": 1})
        await site.ready("svc")
        site.gates.set("launcher.start", "after")
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: site.states("svc") == ["failed"])
        assert not site.launcher.live, "a Job goes on that nobody counts"
        site.check_slots()

    on_memory_site(tmp_path, story)


def test_a_start_that_can_neither_be_done_nor_called_off_ends_with_the_first_reason(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc", retry={"infrastructure": 1})
        await site.ready("svc")
        site.gates.set("launcher.start", "before")
        site.gates.set("launcher.cancel", "before")
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: site.states("svc") == ["failed"])
        assert "launcher.start" in site.runs()[0].reason
        site.check_slots()

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", ["ledger.attempt_by_job", "ledger.finish", "launcher.acknowledge"])
def test_an_end_is_recorded_and_acknowledged_however_often_that_fails(call: str, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        site.gates.set(call, "before", 2)
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: site.states("svc") == ["succeeded"] and not site.launcher.ended)
        site.check_slots()
        assert no_task_failed(site)

    on_memory_site(tmp_path, story)


def test_an_end_that_is_none_ends_no_task(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        site.gates.set("launcher.completions", "garbage", 2)
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.quiet()
        assert site.states("svc") == ["succeeded"]
        assert no_task_failed(site)

    on_memory_site(tmp_path, story)


def test_a_job_that_cannot_be_adopted_is_lost_alone(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.launcher.length = None
        for name in ("bad", "good"):
            await site.declare(name, retry={"infrastructure": 1})
            await site.ready(name)
            await site.deliver(site.store.upload(name, "in/a"))
        await site.until(lambda: len(site.launcher.live) == 2)
        await site.stop()
        site.gates.set("launcher.adopt", "before", match=of_bad)
        await site.start()
        (run,) = site.runs(service="bad")
        await site.until(lambda: site.invoker.ledger.attempts(run.id)[0].state is AttemptState.LOST)
        assert "could not be taken up after a restart" in site.invoker.ledger.attempts(run.id)[0].reason
        assert site.states("good") == ["running"]
        assert no_task_failed(site)

    on_memory_site(tmp_path, story)


def test_jobs_of_a_removed_service_are_cancelled_however_often_that_fails(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.launcher.length = None
        await site.declare("svc")
        await site.ready("svc")
        await site.deliver(site.store.upload("svc", "in/a"))
        await site.until(lambda: site.launcher.live)
        site.gates.set("launcher.cancel", "before", 3)
        await site.invoker.changes.apply(Change(names=("svc",), state="absent"))
        await site.until(lambda: not site.launcher.live)
        await site.quiet()
        site.check_slots()

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", ["store.drop_credential", "ledger.cancel_service"])
def test_a_removed_service_is_gone_whatever_cannot_be_cleared_away(call: str, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        site.gates.set(call, "before")
        with pytest.raises(Unexpected):
            await site.invoker.changes.apply(Change(names=("svc",), state="absent"))
        assert site.invoker.catalogue.declared("svc") is None
        await site.until(lambda: site.store.rules["svc"] == [])

    on_memory_site(tmp_path, story)


def test_an_input_that_cannot_be_polled_holds_up_no_other(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        for name in ("bad", "good"):
            await site.declare(name, POLLED)
            await site.ready(name)
        site.gates.set("store.list", "before", match=of_bad)
        for name in ("bad", "good"):
            site.polled.upload(name, "in/a")
        await site.until(lambda: site.states("good") == ["succeeded"])
        assert no_task_failed(site)
        site.gates.lift()
        await site.until(lambda: site.states("bad") == ["succeeded"])

    on_memory_site(tmp_path, story, listing_interval=1e6, reconcile_interval=1e6)


def test_rows_that_cannot_be_used_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(site: Site) -> None:
        listed = site.store.list

        def rows(where: Prefix) -> Iterator[StorageEvent]:
            yield from listed(where)
            raise UnusableRows(where.bucket, 1, {"in/odd": "its time is odd"})

        monkeypatch.setattr(site.store, "list", rows)
        await site.declare("svc")
        await site.ready("svc")
        site.store.upload("svc", "in/a")  # nobody tells of it
        await site.until(lambda: site.states("svc") == ["succeeded"])

    on_memory_site(tmp_path, story, listing_interval=50.0)


def test_housekeeping_goes_on_past_what_fails(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        for call in ("ledger.prune", "launcher.collect"):
            site.gates.set(call, "before")
        for bucket in (site.config.internal_bucket, site.config.log_bucket):
            site.store.put_old(bucket, "svc/old.log")
        await site.invoker.housekeeping.once()
        assert not site.store.objects

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", ["launcher.health", "ledger.check", "catalogue.health", "store.health"])
def test_a_part_that_cannot_tell_how_it_stands_is_not_ready(call: str, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.gates.set(call, "before")
        found = await asyncio.to_thread(site.invoker.readiness)
        assert {part["detail"] for part in found.values() if not part["ok"]} == {call}
        assert any(part["ok"] for part in found.values())
        site.gates.lift()
        found = await asyncio.to_thread(site.invoker.readiness)
        assert all(part["ok"] for part in found.values())

    on_memory_site(tmp_path, story)


def test_a_service_is_ready_whoever_cannot_be_told(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        site.gates.set("catalogue.report", "before")
        await site.declare("svc")
        await site.ready("svc")
        assert no_task_failed(site)

    on_memory_site(tmp_path, story)


class Held:
    """Calls that hang until they are let go."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def __enter__(self) -> Callable[[], bool]:
        return self.end.wait

    def __exit__(self, *_: object) -> None:
        self.end.set()


async def test_a_store_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    part: Any = None
    stores = StoreRegistry({"slow": part, "quick": part}, "quick")
    with Held() as hang:
        hanging = [asyncio.create_task(stores.run("slow", hang)) for _ in range(2 * registry._SITE_THREADS)]
        await asyncio.sleep(0)  # they begin
        async with asyncio.timeout(20):
            assert await stores.run("quick", lambda: "answer") == "answer"
    await asyncio.gather(*hanging)
    stores.close()


def test_a_call_to_a_store_takes_limited_time() -> None:
    async def life(loop: VirtualLoop) -> None:
        calls = StoreCalls("slow", 1)
        with Held() as hang:
            async with asyncio.timeout(1000):
                with pytest.raises(StoreError, match="did not answer within 300 s"):
                    await calls.run(hang)
                with pytest.raises(StoreError, match="1 calls to it hang"):
                    await calls.run(hang)
        calls.close()

    run_virtually(life)


def test_a_pool_has_no_more_threads_than_its_size() -> None:
    pool = Threads(3, "pool of three")
    with Held() as hang:
        calls = [pool.submit(hang) for _ in range(10)]
        assert sum(thread.name == "pool of three" for thread in threading.enumerate()) == 3
    assert all(call.result(30) for call in calls)
    pool.close()
