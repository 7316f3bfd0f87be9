# SPDX-License-Identifier: Apache-2.0
"""Start with 1,000 services and 100,000 ledger rows: time until ready, memory and processor time when idle."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import load
from parts.daemon import Daemon
from parts.site import file_service, running_site

SERVICES, EVENTS, ROUNDS, IDLE = 1000, 50_000, 5, 30.0


def memory(pid: int) -> float:
    """Resident memory in MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def processor_time(pid: int) -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(daemon: Daemon, token: str) -> None:
    """1,000 services in one bucket; 50,000 events make as many rows of events and of runs."""
    services = [
        {
            **file_service(f"service-{number}", "true\n"),
            "input": [{"storage_provider": "minio", "path": f"bench/in-{number}"}],
            "output": [{"storage_provider": "minio", "path": f"bench/out-{number}"}],
        }
        for number in range(SERVICES)
    ]
    daemon.apply(*services)
    requests = load.hook_requests("/hooks/minio/minio.default/durable", token, "bench", "in-7/", EVENTS)
    load.run(daemon.port, requests, 32)


def main(folder: Path) -> None:
    with running_site(folder, reconcile_interval=600.0) as site:
        daemon = site.daemon
        fill(daemon, site.minio.durable_token)
        with daemon.client() as client:
            client.request("DELETE", "/v2/services/service-7")
        print("making the keys of 1,000 services takes some minutes ...", flush=True)
        ready = (f"service-{number}" for number in range(SERVICES) if number != 7)
        daemon.wait_ready(*ready, timeout=1800)
        times = []
        for _ in range(ROUNDS):
            daemon.stop()
            begin = time.perf_counter()
            daemon.start()
            times.append(time.perf_counter() - begin)
        print(f"start until ready: {statistics.median(times):.2f} s (median of {ROUNDS})")
        time.sleep(60)
        pid = daemon.process.pid
        before = processor_time(pid)
        time.sleep(IDLE)
        used = (processor_time(pid) - before) / IDLE
        print(f"memory {memory(pid):.0f} MB resident   idle {used:.2%} of one core ({IDLE:.0f} s)")
