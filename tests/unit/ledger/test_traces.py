# SPDX-License-Identifier: Apache-2.0
"""The revisions of a key are told page by page, each once, newest first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.ledger import Ledger, trace_cursor


async def record(ledger: Ledger, count: int) -> None:
    def recording(number: int) -> Recording:
        event = StorageEvent("minio.default", "b", "in/a", f"r{number}", number // 2)  # two of each order
        if number % 3:
            return Recording(event, ("one", "two"), EventOutcome.MATCHED)
        return Recording(event, (), EventOutcome.NO_SERVICE)

    await asyncio.gather(*(ledger.record(recording(number)) for number in range(count)))


async def test_pages_are_the_whole(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    await record(ledger, 50)
    ledger.record_baseline(
        "three", [StorageEvent("minio.default", "b", "in/a", f"s{number}", 0) for number in range(5)]
    )
    whole = ledger.explain("b", "in/a")
    assert len(whole) == 55
    pages, cursor = [], ""
    while page := ledger.explain("b", "in/a", 7, cursor):
        assert len(page) <= 7
        pages += page
        cursor = trace_cursor(page[-1])
    assert [one["event_id"] for one in pages] == [one["event_id"] for one in whole]
    assert sum(len(one["runs"]) for one in pages) == sum(len(one["runs"]) for one in whole) == 66
    for bad in ("x", "1", "~a", "-1~a", f"{'9' * 30}~a", "²~a"):
        with pytest.raises(ValueError, match="cursor"):
            ledger.explain("b", "in/a", 7, bad)
    ledger.close()
