# SPDX-License-Identifier: Apache-2.0
"""Let a site work for a while under steady load and attacks, and show whether anything grows.

Usage: python tests/soak [MINUTES]   (30 by default)

Prints a line each minute, then a table of the medians of the second and of the last third of the time. Exit code: 0
when all of them are flat, 1 when one grew, 2 for a bad argument. The first third is left out: caches fill in it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from parts.site import Site, running_site
from parts.tenants import HostileTenants, Tenant

UPLOADS_PER_SECOND = 2.0
SAMPLE = 5.0  # s between samples
ATTACK = 60.0  # s between attacks


@dataclass(frozen=True)
class Sample:
    """What is measured. Each figure must be flat; ``MARGINS`` says how much noise is allowed."""

    memory: float  # MiB, resident
    descriptors: float
    threads: float
    wal: float  # MiB of the ledger's write-ahead log
    places: float  # jobs that run by the ledger
    delay: float  # s from an upload to the end of its script


MARGINS = Sample(memory=8, descriptors=5, threads=2, wal=4, places=2, delay=2)


class Load:
    """Uploads at a steady rate, and how long each took to be processed."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.site = site
        self.tenant = Tenant(folder, site.minio)
        self.hostile = HostileTenants(site.daemon)
        site.daemon.apply(self.tenant.service(), *self.hostile.services())
        site.daemon.wait_ready(self.tenant.name, *self.hostile.names)
        self.tenant.open_bucket()

    def work(self, seconds: float, number: int) -> int:
        """Upload for so long; return the number of the next file."""
        begun = time.monotonic()
        while (left := begun + seconds - time.monotonic()) > 0:
            self.tenant.upload(f"in/{number % 500}")  # the same keys again and again: the store stays small
            number += 1
            time.sleep(min(left, 1 / UPLOADS_PER_SECOND))
        return number

    def delay(self) -> float:
        """Upload one file and wait for the end of its script."""
        begun = time.monotonic()
        md5 = self.tenant.upload("in/delay")
        while not self.tenant.marks("end")[md5] and time.monotonic() < begun + 120:
            time.sleep(0.02)
        return time.monotonic() - begun

    def sample(self) -> Sample:
        """Measure once."""
        assert self.site.daemon.process is not None
        process = Path("/proc") / str(self.site.daemon.process.pid)
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        wal = self.site.daemon.folder / "data/ledger.db-wal"
        return Sample(
            memory=int(status["VmRSS"].split()[0]) / 1024,
            descriptors=len(os.listdir(process / "fd")),
            threads=int(status["Threads"]),
            wal=wal.stat().st_size / 2**20 if wal.exists() else 0.0,
            places=len(self.site.daemon.jobs(state="running")),
            delay=self.delay(),
        )


def samples(load: Load, minutes: float) -> Iterator[Sample]:
    """Work and attack; yield a sample from time to time."""
    end, attack, number = time.monotonic() + minutes * 60, 0.0, 0
    while time.monotonic() < end:
        if time.monotonic() >= attack:
            load.hostile.attack()
            attack = time.monotonic() + ATTACK
        number = load.work(SAMPLE, number)
        yield load.sample()


def verdict(taken: list[Sample]) -> bool:
    """Print the medians of the second and the last third; return whether nothing grew."""
    third = len(taken) // 3
    flat = True
    print(f"{'':12} {'second third':>12} {'last third':>12}")
    for name in (field.name for field in fields(Sample)):
        before = statistics.median(getattr(sample, name) for sample in taken[third : 2 * third])
        after = statistics.median(getattr(sample, name) for sample in taken[2 * third :])
        grew = after > before * 1.05 + getattr(MARGINS, name)
        flat &= not grew
        print(f"{name:12} {before:12.2f} {after:12.2f}  {'GREW' if grew else 'flat'}")
    return flat


def main(arguments: list[str]) -> int:
    """Run the soak."""
    try:
        minutes = float(arguments[0]) if arguments else 30.0
    except ValueError:
        print(f"{arguments[0]!r} is not a number of minutes", file=sys.stderr)
        return 2
    taken: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="oscar-soak-") as scratch, running_site(Path(scratch)) as site:
        load, begun, shown = Load(Path(scratch), site), time.monotonic(), 0
        for sample in samples(load, minutes):
            taken.append(sample)
            passed = int((time.monotonic() - begun) / 60)
            if passed > shown:
                shown = passed
                figures = ", ".join(f"{field.name} {getattr(sample, field.name):.1f}" for field in fields(Sample))
                print(f"{passed:3} min: {figures}", flush=True)
        load.tenant.close()
    if len(taken) < 6:
        print("too few samples for a verdict", file=sys.stderr)
        return 2
    return 0 if verdict(taken) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
