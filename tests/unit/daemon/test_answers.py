# SPDX-License-Identifier: Apache-2.0
"""What the daemon says of jobs while a part of it is in trouble, and of their logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts.memory_site import Site, on_memory_site
from structlog.testing import capture_logs

from oscar_fedcloud.domain.runs import job_name
from oscar_fedcloud.invocations.wait_reasons import Cause
from oscar_fedcloud.launchers.runner.environment import log_path
from oscar_fedcloud.ledger import LedgerTrouble, LedgerUnavailable

FULL = "the disk of the ledger /data/ledger.db is full: what was acknowledged is kept"


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with capture_logs():
        yield


def test_a_queued_job_names_the_trouble_of_the_ledger(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        ledger = site._ledger
        begin = ledger.begin

        def refuse(*_args: Any, **_more: Any) -> Any:
            raise LedgerUnavailable(FULL, LedgerTrouble.FULL)

        ledger.begin = refuse  # type: ignore[method-assign]
        await site.upload("svc", "a")
        (run,) = site.runs()
        await site.until(lambda: site.invoker.waits.of([run])[run.id].code == Cause.LEDGER_UNAVAILABLE)
        assert FULL in site.invoker.waits.of([run])[run.id].detail
        (row,) = site.invoker.waits.queued()
        assert (row.code, FULL in row.detail) == (Cause.LEDGER_UNAVAILABLE, True)
        (answer,) = (await site.invoker.invocations.why("svc", "in/a")).answers
        assert (answer.answer, FULL in answer.detail) == ("waiting", True)
        ledger.begin = begin  # type: ignore[method-assign]
        await site.quiet()
        assert site.states("svc") == ["succeeded"]
        assert not site.invoker.dispatcher.ledger_trouble

    on_memory_site(tmp_path, story)


def test_a_log_is_read_behind_an_offset_also_from_the_store(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("svc")
        await site.ready("svc")
        await site.upload("svc", "a")
        await site.quiet()
        (run,) = site.runs()
        job = job_name("svc", run.id, 1)

        async def log(**which: int) -> tuple[bytes, int | None]:
            found = await site.invoker.invocations.log(run.id, None, **which)
            assert found is not None
            return b"".join(found.chunks), found.end

        assert (await log(), await log(offset=1)) == ((b"log\n", 4), (b"og\n", 4))
        del site.launcher.specs[job]
        assert await site.invoker.invocations.log(run.id, None) is None
        site.store.put(site.config.log_bucket, log_path("svc", job), b"one\ntwo\n")
        assert await log() == (b"one\ntwo\n", None)
        assert await log(offset=4) == (b"two\n", 8)
        assert await log(offset=20) == (b"", 20)
        assert await log(tail=1) == (b"two\n", 8)

    on_memory_site(tmp_path, story)
