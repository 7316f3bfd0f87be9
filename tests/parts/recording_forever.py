# SPDX-License-Identifier: Apache-2.0
"""Records new events until it is killed; prints the run id of each when it is acknowledged. Started by a test."""

from __future__ import annotations

import asyncio
import itertools
import sys

from parts.ledger_facts import event, recording

from oscar_fedcloud.domain.runs import run_id
from oscar_fedcloud.ledger import Ledger


async def record_forever(url: str) -> None:
    ledger = Ledger.open(url)
    numbers = itertools.count()

    async def sender() -> None:
        for number in numbers:
            found = event(f"in/{number}")
            await ledger.record(recording(found))
            print(run_id("grayify", found), flush=True)

    await asyncio.gather(*(sender() for _ in range(8)))


asyncio.run(record_forever(sys.argv[1]))
