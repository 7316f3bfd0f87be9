# SPDX-License-Identifier: Apache-2.0
"""Hostile tenants, clocks that jump, disks that fail and servers that die, in an order that a seed decides.

``CHAOS_SEED`` gives another order, ``CHAOS_ROUNDS`` plays all faults so many times. Whatever happens, the site serves
again once the fault is over, its next start is healthy, and each upload of the tenant who works runs once.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from parts.clock import Clock
from parts.daemon import Daemon
from parts.disk import Disk, disks_can_be_mounted
from parts.minio import MinioServer
from parts.ports import free_port
from parts.site import file_service
from parts.tenants import HostileTenants, Tenant
from parts.waiting import eventually

pytestmark = pytest.mark.chaos
SEED = int(os.environ.get("CHAOS_SEED", "20261130"))
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
DAY = 86400
PLACES = 3  # jobs that run at once
RENDEZVOUS = """\
touch "$MEETING/$JOB_UUID"
until [ "$(ls "$MEETING" | wc -l)" -ge "$ALL" ]; do sleep 0.1; done
"""


class ChaosSite:
    """A site whose parts a test breaks. ``disk`` is None where none can be mounted."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        hooks = f"http://127.0.0.1:{port}/hooks/minio/minio.default"
        self.store_clock, self.daemon_clock = Clock(folder, "store"), Clock(folder, "daemon")
        self.minio = MinioServer(folder / "minio", hooks, environment=self.store_clock.for_go(), program="minio-clock")
        data = folder / "invoker"
        self.disk = Disk(data / "data") if disks_can_be_mounted(folder) else None
        self.daemon = Daemon(data, self.minio, port, reconcile_interval=2.0)
        self.daemon.settings["launcher"] |= {"max_running": PLACES, "log_total": 16 * 2**20}
        self.daemon.write_config()
        self.daemon.environment = self.daemon_clock.for_c()
        self.ledger = data / "data" / "ledger.db"
        self.tenant = Tenant(folder, self.minio)
        self.hostile = HostileTenants(self.daemon)
        self.number = 0

    def declare(self) -> None:
        self.daemon.apply(self.tenant.service(), *self.hostile.services())
        self.daemon.wait_ready(self.tenant.name, *self.hostile.names)
        self.tenant.open_bucket()

    def uploads(self, count: int = 5) -> None:
        """New files, and always a new revision of one that is there."""
        for _ in range(count):
            self.tenant.upload(f"in/file {self.number}")
            self.number += 1
        self.tenant.upload("in/again and again")

    def settle(self) -> None:
        """Wait until nothing is queued and nothing runs."""
        eventually(lambda: not self.daemon.jobs(state="queued,running"), 300)

    def recovered(self) -> None:
        """Wait until the daemon is ready and every upload that counts has been processed."""
        eventually(self.daemon.ready, 60)
        eventually(lambda: not self.tenant.unfinished(), 300)


# Each fault: what is done, with uploads while it lasts, until it is over.


def daemon_killed(site: ChaosSite) -> None:
    site.daemon.kill()
    site.uploads()
    site.daemon.start()


def daemon_hangs(site: ChaosSite) -> None:
    site.daemon.pause()
    site.uploads()
    site.daemon.resume()


def store_killed(site: ChaosSite) -> None:
    site.uploads()
    site.minio.kill()
    site.minio.start()
    site.uploads()


def rules_removed(site: ChaosSite) -> None:
    site.tenant.forget_rules()
    site.uploads()


def history_removed(site: ChaosSite) -> None:
    """All that has ended leaves the history; nothing of it may run again."""
    site.recovered()
    site.daemon.stop()
    site.daemon.settings["retention"] = 1.0
    site.daemon.write_config()
    site.daemon.start()
    site.uploads()
    eventually(lambda: len(site.daemon.jobs(service=site.tenant.name)) < 10)
    site.daemon.stop()
    del site.daemon.settings["retention"]
    site.daemon.write_config()
    site.daemon.start()


def daemon_clock_jumps(site: ChaosSite, seconds: int) -> None:
    site.daemon_clock.shift(seconds)
    site.uploads()
    site.daemon.kill()
    started = site.daemon.launch()  # it may not be ready: a store refuses requests that are signed at another time
    site.uploads()
    time.sleep(1)
    assert started.poll() is None, "the invoker ended"
    site.daemon_clock.shift(0)


def store_clock_jumps(site: ChaosSite, seconds: int) -> None:
    site.recovered()  # a store refuses to serve the jobs of a machine whose clock differs by so much
    site.store_clock.shift(seconds)
    site.uploads()
    time.sleep(1)
    site.store_clock.shift(0)
    site.uploads()


def ledger_corrupted(site: ChaosSite) -> None:
    """The daemon refuses to work on a broken file, and goes on with the copy of an administrator."""
    site.recovered()
    site.daemon.stop()
    shutil.copy(site.ledger, site.ledger.with_suffix(".saved"))
    size = site.ledger.stat().st_size
    with site.ledger.open("r+b") as file:
        for place in range(4096 * 2, size, 4096 * 3):
            file.seek(place)
            file.write(b"\xa5" * 512)
    with pytest.raises(RuntimeError, match="ledger"):
        site.daemon.start()
    for left in site.ledger.parent.glob("ledger.db-*"):
        left.unlink()
    site.ledger.with_suffix(".saved").rename(site.ledger)
    site.daemon.start()
    site.uploads()


def ledger_lost(site: ChaosSite) -> None:
    """A ledger that has gone is not silently begun anew."""
    site.recovered()
    site.daemon.stop()
    site.ledger.rename(site.ledger.with_suffix(".away"))
    with pytest.raises(RuntimeError, match="ledger"):
        site.daemon.start()
    site.ledger.unlink(missing_ok=True)
    site.ledger.with_suffix(".away").rename(site.ledger)
    site.daemon.start()
    site.uploads()


def disk_full(site: ChaosSite) -> None:
    assert site.disk is not None
    site.disk.fill()
    site.uploads()
    eventually(lambda: site.daemon.ready() is False)
    site.disk.free()


def disk_read_only(site: ChaosSite) -> None:
    assert site.disk is not None
    site.recovered()
    site.settle()  # what ran on the disk would have to be killed before the repair, and would run again
    site.disk.fail()
    site.uploads()
    eventually(lambda: site.daemon.ready() is False)
    site.daemon.stop()
    site.disk.repair()
    site.daemon.start()


def jump(of: Callable[[ChaosSite, int], None], seconds: int) -> Callable[[ChaosSite], None]:
    """Return the fault of a clock that jumps so far."""
    return lambda site: of(site, seconds)


FAULTS: dict[str, Callable[[ChaosSite], None]] = {
    "daemon killed": daemon_killed,
    "daemon hangs": daemon_hangs,
    "store killed": store_killed,
    "rules removed": rules_removed,
    "history removed": history_removed,
    "ledger corrupted": ledger_corrupted,
    "ledger lost": ledger_lost,
    "disk full": disk_full,
    "disk read-only": disk_read_only,
}
for _name, _seconds in (("10 minutes", 600), ("40 days", 40 * DAY), ("a year", 365 * DAY)):
    for _word, _sign in (("ahead", 1), ("back", -1)):
        FAULTS[f"daemon's clock {_name} {_word}"] = jump(daemon_clock_jumps, _sign * _seconds)
        FAULTS[f"store's clock {_name} {_word}"] = jump(store_clock_jumps, _sign * _seconds)


@contextmanager
def chaos_site(folder: Path) -> Iterator[ChaosSite]:
    """A running site; its disk is unmounted at the end."""
    site = ChaosSite(folder)
    try:
        with site.minio, site.daemon:
            yield site
    finally:
        site.tenant.close()
        if site.disk is not None:
            site.disk.detach()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosSite]:
    """The site after all faults."""
    order = random.Random(SEED)
    with chaos_site(tmp_path_factory.mktemp("chaos")) as site:
        site.declare()
        for _ in range(ROUNDS):
            for name in order.sample(sorted(FAULTS), len(FAULTS)):
                if site.disk is None and name.startswith("disk"):
                    continue
                print(f"{name} ...", flush=True)
                site.uploads()
                site.hostile.attack()
                FAULTS[name](site)
                site.recovered()
        site.settle()
        yield site


def test_every_upload_ran_once(site: ChaosSite) -> None:
    """No process that ran a script was killed, so not one may have started twice."""
    starts, ends = site.tenant.marks("start"), site.tenant.marks("end")
    assert starts == ends
    assert {md5: count for md5, count in ends.items() if count != 1} == {}
    assert set(site.tenant.newest.values()) <= set(ends)
    assert set(ends) <= set(site.tenant.acknowledged)


def test_only_what_was_replaced_or_told_by_nobody_did_not_run(site: ChaosSite) -> None:
    ran = site.tenant.marks("end")
    for md5, (key, _) in site.tenant.acknowledged.items():
        assert ran[md5] or site.tenant.newest[key] != md5


def test_hostile_jobs_end_with_a_reason(site: ChaosSite) -> None:
    for name in site.hostile.names:
        jobs = site.daemon.jobs(service=name)
        assert jobs, name
        assert all(job["state"] == "succeeded" or job["reason"] for job in jobs), jobs


def test_no_place_is_lost(site: ChaosSite, tmp_path: Path) -> None:
    """As many jobs as there are places wait for each other, so that all must run at once."""
    variables = {"MEETING": str(tmp_path), "ALL": str(PLACES)}
    service = file_service("rendezvous", RENDEZVOUS, timeout=60, environment={"variables": variables})
    site.daemon.apply(service)
    site.daemon.wait_ready("rendezvous")
    with site.daemon.client() as client:
        for _ in range(PLACES):
            client.post("/v2/services/rendezvous/jobs", content=b"").raise_for_status()
    jobs = site.daemon.wait_jobs(PLACES, service="rendezvous")
    assert [job["state"] for job in jobs] == ["succeeded"] * PLACES


def test_the_next_start_is_healthy(site: ChaosSite) -> None:
    site.daemon.stop()
    site.daemon.start()
    assert site.daemon.get("/readyz").json()["ready"] is True
