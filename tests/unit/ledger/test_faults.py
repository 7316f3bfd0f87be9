# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged is there, whatever happens; what could not be stored is said to be so, and soon."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from parts.ledger_facts import begin, end, event, queue, recording, store, stored
from parts.postgres import PostgresServer
from parts.waiting import eventually
from sqlalchemy import create_engine, text

from oscar_fedcloud.domain.runs import RunState, run_id
from oscar_fedcloud.ledger import Ledger, LedgerUnavailable

TESTS = Path(__file__).parents[2]


def test_what_was_acknowledged_survives_sigkill(url: str) -> None:
    command = [sys.executable, "-m", "parts.recording_forever", url]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = list(itertools.islice(process.stdout, 300))
        process.kill()
        acknowledged += process.stdout.readlines()
    ledger = Ledger.open(url)
    lost = [line for line in acknowledged if line.endswith("\n") and ledger.run(line.strip()) is None]
    ledger.close()
    assert lost == []


@contextlib.contextmanager
def _nobody_can_commit(url: str) -> Iterator[None]:
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("LOCK TABLE runs")
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield
    engine.dispose()


async def test_nothing_is_acknowledged_before_it_is_committed(ledger: Ledger, url: str) -> None:
    with _nobody_can_commit(url):
        waiting = ledger.record_nowait(recording(event()))
        mutation = asyncio.create_task(asyncio.to_thread(ledger.record_baseline, "other", [event()]))
        await asyncio.sleep(0.5)  # in which they must not be done
        assert not waiting.done()
        assert not mutation.done()
    assert await waiting is True
    assert await mutation == 1


async def _record_until_refused(ledger: Ledger) -> list[str]:
    """Record one event after the other until the ledger says no; returns the runs that were acknowledged."""
    acknowledged = []
    with contextlib.suppress(LedgerUnavailable):
        for number in itertools.count():
            found = event(f"in/{number}", record=b"x" * 3000)
            await asyncio.wait_for(ledger.record(recording(found)), 60)
            acknowledged.append(run_id("grayify", found))
    return acknowledged


@contextlib.contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """A full disk, as far as this process can tell: the kernel refuses to let any file grow beyond that size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_said_and_survived(sqlite_url: str) -> None:
    ledger = Ledger.open(sqlite_url)
    (run,) = queue(ledger, event("before"))
    with _largest_file(300_000):
        acknowledged = asyncio.run(_record_until_refused(ledger))
    with _largest_file(1000):
        with pytest.raises(LedgerUnavailable):
            ledger.check()
        with pytest.raises(LedgerUnavailable):
            ledger.record_baseline("grayify", [event("seen")])
        assert ledger.run(run.id) == run
    ledger.check()
    assert store(ledger, recording(event("after"))) == [True]
    ledger.close()
    again = Ledger.open(sqlite_url)
    assert acknowledged
    assert [name for name in acknowledged if again.run(name) is None] == []
    again.close()
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_was_refused_is_as_if_it_had_never_come(sqlite_url: str) -> None:
    ledger = Ledger.open(sqlite_url)
    events = [recording(event(f"k{number}", record=b"x" * 5000)) for number in range(200)]

    async def send() -> list[bool | BaseException]:
        return await asyncio.gather(*(ledger.record(item) for item in events), return_exceptions=True)

    with _largest_file(200_000):
        answers = asyncio.run(send())
    refused = [item for item, answer in zip(events, answers, strict=True) if isinstance(answer, LedgerUnavailable)]
    assert refused
    assert len(ledger.runs(limit=1000)) == 200 - len(refused)
    assert store(ledger, *refused) == [True] * len(refused)
    assert len(ledger.runs(limit=1000)) == 200
    ledger.close()


async def test_server_that_goes_away_while_events_come(postgres: PostgresServer, postgres_url: str) -> None:
    ledger = await asyncio.to_thread(Ledger.open, postgres_url)
    recorder = asyncio.create_task(_record_until_refused(ledger))
    await asyncio.to_thread(eventually, lambda: len(ledger.runs(limit=10)) == 10)
    await asyncio.to_thread(postgres.stop, "immediate")
    acknowledged = await recorder
    with pytest.raises(LedgerUnavailable):
        await ledger.record(recording(event("while it is away")))
    with pytest.raises(LedgerUnavailable):
        await asyncio.to_thread(ledger.counts)
    with pytest.raises(LedgerUnavailable):
        await asyncio.to_thread(ledger.check)
    await asyncio.to_thread(postgres.start)
    await asyncio.to_thread(ledger.check)
    assert await ledger.record(recording(event("while it is away"))) is True
    assert acknowledged
    lost = [name for name in acknowledged if await asyncio.to_thread(ledger.run, name) is None]
    assert lost == []
    await asyncio.to_thread(ledger.close)


def test_server_restarted_while_the_ledger_was_idle(postgres: PostgresServer, postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url)
    (run,) = queue(ledger, event(f"idle {time.time()}"), service="idle")
    postgres.stop()
    postgres.start()
    (attempt,) = begin(ledger, run)
    postgres.stop()
    postgres.start()
    assert store(ledger, recording(event(f"after {time.time()}"))) == [True]
    postgres.stop()
    postgres.start()
    assert stored(ledger, run.id).state is RunState.RUNNING
    assert end(ledger, attempt) is not None
    ledger.close()


def test_replicas_with_the_same_events_in_any_order(postgres_url: str) -> None:
    """Each event once, and no deadlock, although the batches meet in the database."""
    one, two = Ledger.open(postgres_url), Ledger.open(postgres_url)
    name = f"replicas {time.time()}"
    events = [event(f"in/{number}") for number in range(3000)]

    async def send() -> list[bool]:
        both = [one.record_nowait(recording(item, name)) for item in events]
        both += [two.record_nowait(recording(item, name)) for item in reversed(events)]
        return await asyncio.gather(*both)

    asyncio.run(send())
    assert one.counts(name) == two.counts(name) == {name: {"queued": 3000}}
    one.close()
    two.close()


def test_answer_to_an_event_loop_that_is_gone(ledger: Ledger) -> None:
    async def leave() -> None:
        ledger.record_nowait(recording(event("left")))

    for _ in range(3):
        asyncio.run(leave())
    assert store(ledger, recording(event("next"))) == [True]
    assert ledger.run(run_id("grayify", event("left"))) is not None


async def test_listener_that_fails_harms_nobody(ledger: Ledger) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    error = RuntimeError("listener")

    def fail(_: object) -> None:
        raise error

    ledger.listener = SimpleNamespace(committed=fail)  # type: ignore[arg-type]
    assert await ledger.record(recording(event("a"))) is True
    assert await ledger.record(recording(event("b"))) is True
    assert complaints == [error, error]


def test_many_threads_at_once(ledger: Ledger) -> None:
    """Mutations from threads, reads, and events do not wait for each other for ever, and nothing is mixed up."""

    async def work(number: int) -> None:
        found = event(f"k{number}")
        assert await ledger.record(recording(found))
        run = await asyncio.to_thread(stored, ledger, run_id("grayify", found))
        (attempt,) = await asyncio.to_thread(begin, ledger, run)
        assert await asyncio.to_thread(end, ledger, attempt) is not None

    async def all_at_once() -> None:
        await asyncio.wait_for(asyncio.gather(*(work(number) for number in range(60))), 120)

    asyncio.run(all_at_once())
    assert ledger.counts() == {"grayify": {"succeeded": 60}}


def test_a_connection_that_is_in_use_at_the_close_is_closed_afterwards(url: str) -> None:
    ledger = Ledger.open(url)
    with ledger._reading.connect() as reading:
        driver = reading.connection.driver_connection
        ledger.close()
        assert reading.execute(text("SELECT 1")).scalar() == 1
    assert driver is not None
    with pytest.raises(reading.dialect.loaded_dbapi.Error, match="closed"):
        driver.execute("SELECT 1")
