# SPDX-License-Identifier: Apache-2.0
"""Durable acknowledgements of the MinIO webhook, the invoker alone on one core."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import load
from parts.daemon import Daemon
from parts.minio import MinioServer
from parts.postgres import PostgresServer
from parts.site import file_service

ROUNDS = 3
CONNECTIONS = (2, 16, 64)
EVENTS = {2: 4000, 16: 20000, 64: 20000}


@contextmanager
def on_core(core: int, pid: int) -> Iterator[None]:
    """This process runs on the other core(s) while process ``pid`` has this one."""
    everything = os.sched_getaffinity(0)
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})
    os.sched_setaffinity(0, everything - {core} or everything)
    try:
        yield
    finally:
        os.sched_setaffinity(0, everything)


def measure(daemon: Daemon, token: str) -> dict[int, list[load.Result]]:
    results: dict[int, list[load.Result]] = {connections: [] for connections in CONNECTIONS}
    first = 0
    with on_core(0, daemon.process.pid):
        for _ in range(ROUNDS):
            for connections in CONNECTIONS:
                count = EVENTS[connections]
                path = "/hooks/minio/minio.default/durable"
                requests = load.hook_requests(path, token, "bench", "in/", count, first)
                first += count
                results[connections].append(load.run(daemon.port, requests, connections))
    return results


def report(name: str, results: dict[int, list[load.Result]]) -> None:
    for connections, rounds in results.items():
        rate = statistics.median(result.rate for result in rounds)
        p50, p99 = (statistics.median(result.percentile(part) for result in rounds) * 1000 for part in (0.5, 0.99))
        print(
            f"{name:12} {connections:3} in flight: {rate:8.0f} acknowledged/s   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms"
        )


def one(name: str, folder: Path, minio: MinioServer, **settings: object) -> None:
    daemon = Daemon(folder, minio, **settings)
    minio.start()
    with daemon:
        minio.stop()
        daemon.apply(
            file_service("bench", "true\n")
        )  # never ready without its store: events are recorded and no job takes the core
        report(name, measure(daemon, minio.durable_token))


def main(folder: Path) -> None:
    minio = MinioServer(folder / "minio")
    one("sqlite", folder / "sqlite", minio)
    with PostgresServer() as postgres:
        one("postgresql", folder / "pg", minio, ledger=postgres.url)
