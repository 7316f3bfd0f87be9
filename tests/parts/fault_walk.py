# SPDX-License-Identifier: Apache-2.0
"""The calls that leave the daemon, found by introspection, and when each of them is made."""

from __future__ import annotations

import contextlib
import inspect

from parts.memory_site import POLLED, MemoryReceiver, Site

from oscar_fedcloud.catalogue.entries import ServiceRepository
from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.storage.ports import ObjectStore

BOUNDARIES: dict[str, type] = {
    "store": ObjectStore,
    "launcher": Launcher,
    "ledger": Ledger,
    "catalogue": ServiceRepository,
    "receiver": MemoryReceiver,
}
# Called only for one request of the API, which answers with the error, or (``reorder``) after a wrong clock: see
# test_fault_requests.py, where a call that no request makes fails.
BY_REQUEST = {
    "store.buckets", "store.parse", "store.put_file", "store.read",
    "launcher.log", "launcher.waiting", "launcher.progress",
    "store.remove", "store.why", "ledger.reorder",
    "ledger.claim", "ledger.release",
    "ledger.dead_letter", "ledger.dead_letters", "ledger.drop_dead_letter", "ledger.record_dead_letter",
    "ledger.counts", "ledger.runs", "ledger.explain", "ledger.replay", "ledger.stats",
    "ledger.delete_run", "ledger.delete_runs", "ledger.origin", "ledger.chain",
    "catalogue.history",
}  # fmt: skip
# An error ends the start with its words: see test_fault_start.py.
ENDS_START = {
    "ledger.open", "ledger.identity", "ledger.accept",
    "catalogue.open", "catalogue.load",
    "store.key_problem",
}  # fmt: skip
# An error is waited out after the start, or logged at the stop: see test_fault_injection.py.
AT_START = ENDS_START | {"launcher.adopt", "ledger.running"}
AT_STOP = {"ledger.close", "catalogue.close", "launcher.close", "receiver.close"}
# Answered from memory or by arithmetic, so that they may be called on the event loop.
ON_LOOP = {
    "store.rclone_env", "catalogue.keys", "catalogue.report",
    "ledger.record", "ledger.record_nowait",
    "ledger.stats",
}  # fmt: skip


def calls_of(boundary: str) -> set[str]:
    """The methods of a boundary."""
    kinds = [kind for kind in BOUNDARIES[boundary].__mro__ if kind.__module__.startswith(("oscar_fedcloud", "parts"))]
    members = [item for kind in kinds for item in vars(kind).items()]
    names = {name for name, found in members if inspect.isroutine(found) or isinstance(found, classmethod)}
    return {f"{boundary}.{name}" for name in names if not name.startswith("_")}


CALLS = sorted(set().union(*(calls_of(boundary) for boundary in BOUNDARIES)))
WALKED = [call for call in CALLS if call not in BY_REQUEST | AT_START | AT_STOP]


async def healthy(site: Site) -> None:
    """All work ends, no slot is lost, and every service works again."""
    await site.until(lambda: all(part["ok"] for part in site.invoker.readiness().values()), 3000)
    for name in ("item", "item-polled"):
        with contextlib.suppress(Exception):
            await site.declare(name, POLLED if name.endswith("polled") else "minio.default")
    await site.quiet(6000)
    site.check_slots()
    assert all(run.reason or run.state is RunState.SUCCEEDED for run in site.runs())
    before = len(site.runs(service="steady", states=[RunState.SUCCEEDED]))
    for name in ("steady", "item"):
        await site.ready(name)
        await site.deliver(site.store.upload(name, f"in/after-{site.loop.time()}"))
    await site.quiet()
    assert len(site.runs(service="steady", states=[RunState.SUCCEEDED])) == before + 1
    assert site.runs(service="item", limit=1)[0].state is RunState.SUCCEEDED
    site.check_slots()
