# SPDX-License-Identifier: Apache-2.0
"""Supervised tasks: begun again after a pause, told of, and ended in bounded time."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from parts.virtual_time import VirtualLoop, run_virtually
from structlog.testing import capture_logs

from oscar_fedcloud.runtime.tasks import FIRST_PAUSE, LONGEST_PAUSE, STEADY, Tasks, bounded
from oscar_fedcloud.runtime.waiting import Troubles, in_words, wait


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with capture_logs():
        yield


async def forever() -> None:
    await asyncio.Event().wait()


class Failing:
    """Fails the first ``times`` times that it is run, each time after ``life`` seconds."""

    def __init__(self, times: int, error: BaseException, life: float = 0.0) -> None:
        self.times, self.error, self.life = times, error, life
        self.begun: list[float] = []

    async def __call__(self) -> None:
        self.begun.append(asyncio.get_running_loop().time())
        if len(self.begun) > self.times:
            await forever()
        await asyncio.sleep(self.life)
        raise self.error


@pytest.mark.parametrize(
    "error",
    [OverflowError("int too large"), KeyError("gone"), RecursionError(), MemoryError(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
def test_a_task_that_fails_is_begun_again_and_told_of_until_it_works(error: BaseException) -> None:
    async def life(loop: VirtualLoop) -> None:
        tasks, work = Tasks(), Failing(3, error)
        tasks.start("watch", work)
        tasks.start("other", forever)
        await asyncio.sleep(FIRST_PAUSE / 2)
        health = tasks.health()
        assert not health["ok"]
        assert f"task watch: {in_words(error)} (next try 17:46:4" in health["detail"]
        await asyncio.sleep(20 * FIRST_PAUSE)
        assert tasks.restarts() == {"watch": 3, "other": 0}
        assert not tasks.health()["ok"], "it has not worked for long"
        await asyncio.sleep(STEADY)
        assert tasks.health() == {"ok": True, "detail": ""}
        await tasks.close()

    run_virtually(life)


def test_the_pause_doubles_up_to_a_limit_and_begins_anew_after_steady_work() -> None:
    async def life(loop: VirtualLoop) -> None:
        tasks, brief, long = Tasks(), Failing(100, OSError("no")), Failing(100, OSError("no"), STEADY)
        tasks.start("brief", brief)
        tasks.start("long", long)
        await asyncio.sleep(600)
        pauses = [after - before for before, after in pairwise(brief.begun)]
        assert pauses[:3] == pytest.approx([FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE])
        assert max(pauses) == pytest.approx(LONGEST_PAUSE)
        assert {after - before for before, after in pairwise(long.begun)} == {STEADY + FIRST_PAUSE}
        await tasks.close()

    run_virtually(life)


def test_a_task_that_ends_by_itself_is_begun_again() -> None:
    async def life(loop: VirtualLoop) -> None:
        async def nothing() -> None:
            pass

        tasks = Tasks()
        tasks.start("reconcile", nothing)
        await asyncio.sleep(5)
        assert "task reconcile: RuntimeError: it ended by itself" in tasks.health()["detail"]
        assert tasks.restarts()["reconcile"] > 1
        await tasks.close()

    run_virtually(life)


def test_the_end_of_one_task_leaves_the_others() -> None:
    async def life(loop: VirtualLoop) -> None:
        tasks = Tasks()
        tasks.start("poll a", Failing(100, OSError("no")))
        tasks.start("poll b", forever)
        await asyncio.sleep(1)
        await tasks.end("poll a")
        assert tasks.health() == {"ok": True, "detail": ""}
        assert tasks.restarts() == {"poll b": 0}
        tasks.start("poll a", forever)
        await tasks.close()

    run_virtually(life)


def test_no_task_is_not_ready() -> None:
    assert Tasks().health() == {"ok": False, "detail": "no task runs"}


def test_a_stop_is_bounded_and_names_what_hangs() -> None:
    async def life(loop: VirtualLoop) -> None:
        stubborn_until = asyncio.Event()

        async def stubborn() -> None:
            while not stubborn_until.is_set():
                try:
                    await stubborn_until.wait()
                except asyncio.CancelledError:
                    continue

        tasks = Tasks()
        tasks.start("stubborn", stubborn)
        tasks.start("good", forever)
        await asyncio.sleep(0)
        with capture_logs() as logs:
            await tasks.close(5.0)
        assert loop.time() == pytest.approx(5.0)
        (line,) = logs
        assert line["task"] == "stubborn"
        assert "test_tasks.py" in line["at"] or "tasks.py" in line["at"]
        stubborn_until.set()

    run_virtually(life)


def test_a_task_that_swallows_one_cancellation_ends_nevertheless() -> None:
    async def life(loop: VirtualLoop) -> None:
        async def swallows() -> None:
            try:
                await forever()
            except asyncio.CancelledError:
                await asyncio.sleep(1000)

        tasks = Tasks()
        tasks.start("swallows", swallows)
        await asyncio.sleep(1)
        with capture_logs() as logs:
            await tasks.close(5.0)
        assert logs == []
        assert loop.time() < 5.0

    run_virtually(life)


def test_a_step_of_the_stop_that_hangs_or_fails_is_named() -> None:
    async def life(loop: VirtualLoop) -> None:
        async def fails() -> None:
            raise OSError("disk gone")

        with capture_logs() as logs:
            await bounded("ledger", forever(), 3.0)
            await bounded("catalogue", fails(), 3.0)
            await bounded("launcher", asyncio.sleep(1.0), 3.0)
        assert [(line["step"], line.get("error", "")) for line in logs] == [
            ("ledger", ""),
            ("catalogue", "OSError: disk gone"),
        ]

    run_virtually(life)


def test_a_cancellation_that_comes_with_the_event_is_not_swallowed() -> None:
    """What ``asyncio.wait_for`` does on Python 3.11; here in every order of the three within one turn of the loop."""

    async def life(loop: VirtualLoop) -> None:
        for seed in range(200):
            event, chance = asyncio.Event(), random.Random(seed)

            async def task(event: asyncio.Event = event) -> None:
                while True:
                    await wait(event, 1.0)
                    event.clear()

            begun = asyncio.create_task(task())
            await asyncio.sleep(chance.choice((0.0, 0.5, 1.0)))
            steps = [event.set, begun.cancel]
            chance.shuffle(steps)
            for step in steps:
                step()
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            _, pending = await asyncio.wait([begun], timeout=5.0)
            assert not pending, f"seed {seed}"

    run_virtually(life)


def test_wait_tells_whether_the_event_came() -> None:
    async def life(loop: VirtualLoop) -> None:
        event = asyncio.Event()
        assert not await wait(event, 2.0)
        loop.call_later(1.0, event.set)
        assert await wait(event, 2.0)
        assert loop.time() == pytest.approx(3.0)

    run_virtually(life)


def test_the_linter_forbids_wait_for(tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="the linter is installed for one Python only")
    source = Path(__file__).parents[3]
    text = "import asyncio\n\n\nasync def f() -> None:\n    await asyncio.wait_for(asyncio.sleep(1), 2)\n"
    command = [sys.executable, "-m", "ruff", "check", "--config", str(source / "pyproject.toml"), "--stdin-filename"]
    result = subprocess.run(
        [*command, str(source / "src/oscar_fedcloud/new.py"), "-"],
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, "RUFF_CACHE_DIR": str(tmp_path)},
    )
    assert "TID251" in result.stdout


def test_troubles_say_what_is_wrong_in_one_line() -> None:
    troubles = Troubles()
    troubles.note("end of job a", ValueError("two\nlines"), 5.0)
    assert "end of job a" in troubles
    assert troubles.detail().startswith("end of job a: ValueError: two lines (next try ")
    troubles.clear("end of job a")
    assert not troubles
    assert troubles.total == 1
