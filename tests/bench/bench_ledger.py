# SPDX-License-Identifier: Apache-2.0
"""How many events per second the ledger commits durably, and how long one waits.

    python tests/bench/bench_ledger.py [--url URL] [--seconds 2] [--in-flight 2 16 64] [--rounds 3]

Prints one line per number of events in flight: medians over the rounds, which are interleaved. Without --url: a SQLite
file in a temporary folder. Nothing but ``record`` is measured (no HTTP); each event is new, with a body like MinIO's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator

from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.domain.jsontext import to_json
from oscar_fedcloud.ledger import Ledger

Result = tuple[float, float, float, float]  # events/s, CPU µs/event, p50 ms, p99 ms


def recordings(run: str) -> Iterator[Recording]:
    """New events without end."""
    for number in itertools.count():
        key = f"in/{run}/photograph-{number:07}.jpg"
        sequencer = f"{0x17D000000000000 + number * 1000:X}"
        record = {
            "eventVersion": "2.0",
            "eventSource": "minio:s3",
            "awsRegion": "",
            "eventTime": "2026-01-01T12:00:00.000Z",
            "eventName": "s3:ObjectCreated:Put",
            "userIdentity": {"principalId": "minio"},
            "requestParameters": {"principalId": "minio", "region": "", "sourceIPAddress": "10.0.0.7"},
            "responseElements": {"x-amz-id-2": "dd9025bab4ad464b049177c95eb6ebf374d3b3fd"},
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "Config",
                "bucket": {"name": "photos", "arn": "arn:aws:s3:::photos"},
                "object": {
                    "key": key,
                    "size": 61306,
                    "eTag": "9b74c9897bac770ffc029102a200c5de",
                    "sequencer": sequencer,
                },
            },
            "source": {"host": "10.0.0.7", "port": "", "userAgent": "MinIO (linux; amd64) minio-go/v7.0.70"},
        }
        event = StorageEvent(
            provider="minio.default",
            bucket="photos",
            key=key,
            revision=sequencer,
            order=int(sequencer, 16),
            size=61306,
            etag="9b74c9897bac770ffc029102a200c5de",
            time="2026-01-01T12:00:00.000Z",
            record=to_json(record),
        )
        yield Recording(event, ("grayify",), EventOutcome.MATCHED)


async def measure(ledger: Ledger, in_flight: int, seconds: float) -> Result:
    """Keep that many events in flight for a while."""
    source = recordings(f"{time.monotonic_ns()}")
    waits: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()
    end = begun + seconds

    async def sender() -> None:
        while (start := time.perf_counter()) < end:
            await ledger.record(next(source))
            waits.append(time.perf_counter() - start)

    await asyncio.gather(*(sender() for _ in range(in_flight)))
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    cuts = statistics.quantiles(waits, n=100)
    return len(waits) / took, used / len(waits) * 1e6, cuts[49] * 1e3, cuts[98] * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[2, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(options.url or f"sqlite:///{folder}/ledger.db")
        results: dict[int, list[Result]] = {count: [] for count in options.in_flight}
        for _ in range(options.rounds):
            for count in options.in_flight:
                results[count].append(asyncio.run(measure(ledger, count, options.seconds)))
        ledger.close()
    for count, rounds in results.items():
        rate, cpu, p50, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{count:4} in flight: {rate:8.0f} events/s, {cpu:5.0f} µs CPU/event, p50 {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
