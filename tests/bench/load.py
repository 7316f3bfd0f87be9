# SPDX-License-Identifier: Apache-2.0
"""A load of prepared HTTP requests over a number of kept connections, one request in flight on each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop


@dataclass(frozen=True)
class Result:
    """What a load took. latencies: seconds, sorted."""

    count: int
    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    def percentile(self, part: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(part * len(self.latencies)))]


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one has come whole."""

    def __init__(self, requests: Iterator[bytes], latencies: list[float], done: asyncio.Future[None]) -> None:
        self.requests, self.latencies, self.done = requests, latencies, done
        self.buffer = b""
        self.sent = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._next()

    def _next(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self.buffer.decode(errors="replace")))
            self.transport.close()
            return
        self.latencies.append(time.perf_counter() - self.sent)
        self.buffer = b""
        self._next()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def run(port: int, requests: list[bytes], connections: int) -> Result:
    """Send all requests to a server on loopback. Raises RuntimeError with the first answer that is not 200."""

    async def all_connections() -> None:
        loop = asyncio.get_running_loop()
        ends = [loop.create_future() for _ in range(connections)]
        for end in ends:
            await loop.create_connection(lambda end=end: _Connection(source, latencies, end), "127.0.0.1", port)
        await asyncio.gather(*ends)

    source, latencies = iter(requests), []  # type: ignore[var-annotated]
    begin = time.perf_counter()
    uvloop.run(all_connections())
    return Result(len(latencies), time.perf_counter() - begin, sorted(latencies))


def hook_requests(path: str, token: str, bucket: str, prefix: str, count: int, first: int = 0) -> list[bytes]:
    """Notifications with all the fields that MinIO sends, each of another object."""
    return [
        _hook_request(path, token, bucket, f"{prefix}{first + number:08d}.jpg", first + number)
        for number in range(count)
    ]


def _hook_request(path: str, token: str, bucket: str, key: str, number: int) -> bytes:
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": "user"},
        "requestParameters": {"principalId": "user", "region": "", "sourceIPAddress": "127.0.0.1"},
        "responseElements": {
            "x-amz-id-2": "dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8",
            "x-amz-request-id": f"18C{number:013X}",
            "x-minio-deployment-id": "a7f5a0b1-4a8e-4d5e-8f2e-1d7d3e6a0c11",
            "x-minio-origin-endpoint": "http://127.0.0.1:9000",
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "user"}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {
                "key": key.replace("/", "%2F"),
                "size": 61306,
                "eTag": f"{number:032x}",
                "contentType": "image/jpeg",
                "userMetadata": {"content-type": "image/jpeg"},
                "sequencer": f"{0x18C0000000000000 + number * 1_000_000:X}",
            },
        },
        "source": {"host": "127.0.0.1", "port": "", "userAgent": "MinIO (linux; amd64) minio-go/v7.0.80"},
    }
    body = json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"{bucket}/{key}", "Records": [record]}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: MinIO\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
