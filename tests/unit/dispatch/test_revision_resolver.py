# SPDX-License-Identifier: Apache-2.0
"""Which of two revisions counts is asked of the store when the events do not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from oscar_fedcloud.dispatch import revision_resolver as doubts
from oscar_fedcloud.dispatch.revision_resolver import RevisionResolver
from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.domain.runs import RunState, run_id
from oscar_fedcloud.ledger import Candidate, Ledger
from oscar_fedcloud.storage.errors import StoreError

WRONG = StorageEvent("minio.default", "bucket", "key", "wrong", 2**62)
RIGHT = StorageEvent("minio.default", "bucket", "key", "right", 5)


@pytest.fixture
async def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    for event in (WRONG, RIGHT):
        await opened.record(Recording(event, ("svc",), EventOutcome.MATCHED))
    yield opened
    opened.close()


async def settled(ledger: Ledger, is_current: Callable) -> RunState:
    """The state of the right run after its doubt is settled."""
    woken = asyncio.Event()

    def wake(services: Iterable[str]) -> None:
        assert list(services) == ["svc"]
        woken.set()

    ports, queues = SimpleNamespace(is_current=is_current), SimpleNamespace(wake=wake)
    asked = RevisionResolver(ledger, ports, queues)  # type: ignore[arg-type]
    asked.resolve(candidates(ledger))
    asked.resolve(candidates(ledger))  # as each round does
    async with asyncio.timeout(10):
        await woken.wait()
    await asked.close()
    found = ledger.run(run_id("svc", RIGHT))
    assert found is not None
    return found.state


def candidates(ledger: Ledger) -> list[Candidate]:
    return [item for item in ledger.due("svc", 1e10, 10) if item.doubtful]


async def test_the_revision_that_the_store_has_counts(ledger: Ledger) -> None:
    async def is_current(event: StorageEvent) -> bool:
        return event.revision == "right"

    assert await settled(ledger, is_current) is RunState.QUEUED
    assert [(item.run.event.revision, item.newer) for item in ledger.due("svc", 1e10, 10)] == [
        ("wrong", True),
        ("right", False),
    ]


async def test_a_revision_that_the_store_has_not_is_superseded(ledger: Ledger) -> None:
    asked: list[str] = []

    async def is_current(event: StorageEvent) -> bool:
        asked.append(event.revision)
        return False

    assert await settled(ledger, is_current) is RunState.SUPERSEDED
    assert asked == ["right"]


@pytest.mark.parametrize("error", [StoreError("away"), TypeError("unforeseen")])
async def test_without_an_answer_the_run_waits(
    ledger: Ledger, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "_PAUSE", 0.01)

    async def is_current(event: StorageEvent) -> bool:
        raise error

    assert await settled(ledger, is_current) is RunState.QUEUED
    assert len(candidates(ledger)) == 1
