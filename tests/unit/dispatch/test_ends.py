# SPDX-License-Identifier: Apache-2.0
"""A job whose end cannot be recorded says why it still runs, and is recorded once that is possible."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from parts.waiting import eventually_here

from oscar_fedcloud.dispatch.ends import Ends
from oscar_fedcloud.dispatch.slots import Slots
from oscar_fedcloud.domain.runs import AttemptState, Completion, Run
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.runtime.waiting import Troubles


class FullLedger:
    """A ledger without room, until told."""

    def __init__(self) -> None:
        self.room = False

    def attempt_by_job(self, job: str) -> None:
        """Known to nobody, or refused."""
        if not self.room:
            raise LedgerUnavailable("the disk of the ledger /data/ledger.db is full", "full")


async def test_an_end_that_waits_for_room_says_so() -> None:
    ledger, ended = FullLedger(), asyncio.Event()

    def note(completion: Completion, run: Run | None) -> None:
        ended.set()

    parts: Any = ledger
    launcher: Any = None
    ports: Any = SimpleNamespace(policy=lambda service: None)
    listener: Any = SimpleNamespace(job_ended=note)
    ends = Ends(parts, launcher, Slots(), Troubles(), ports, listener)
    ends.begin(Completion("job-1", AttemptState.SUCCEEDED, 0))
    await eventually_here(lambda: ends.unrecorded)
    assert ends.unrecorded == {
        "job-1": "the job has ended, which is recorded as soon as possible: "
        "the disk of the ledger /data/ledger.db is full"
    }
    ledger.room = True
    await ended.wait()
    assert ends.unrecorded == {}
    await ends.close()
