# SPDX-License-Identifier: Apache-2.0
"""Oversized requests are refused before they cost anything. Slow and broken clients: test_slow_clients."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from parts.api_invoker import ApiInvoker

from oscar_fedcloud.server.body import IN_MEMORY, read_body
from oscar_fedcloud.server.problems import ApiError

DOCUMENT = 100_000  # bytes; the fixture's limits
BODY = 200_000


async def stream(size: int, step: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, size, step):
        yield b" " * min(step, size - start)


class Counted:
    """A body that counts how much of it was asked for."""

    def __init__(self, size: int) -> None:
        self.size, self.sent = size, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in stream(self.size):
            self.sent += len(chunk)
            yield chunk


async def test_a_length_beyond_the_limit_is_refused_unread(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    invoker.store.ensure_bucket("b-1")
    body = Counted(10)
    headers = {"Content-Length": str(BODY + 1)}
    answer = await admin.put("/v2/buckets/b-1/objects/x", content=body, headers=headers)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.json()["status"] == 413
    assert body.sent == 0
    assert invoker.store.content == {"b-1": {}}


async def test_chunks_beyond_the_limit_are_not_read_to_the_end(admin: httpx.AsyncClient, invoker: ApiInvoker) -> None:
    invoker.store.ensure_bucket("b-1")
    body = Counted(100 * BODY)
    answer = await admin.put("/v2/buckets/b-1/objects/x", content=body)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert body.sent <= BODY + 2000
    assert invoker.store.content == {"b-1": {}}


async def test_documents_have_a_smaller_limit(admin: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/v2/services:apply"), ("PUT", "/v2/services/x"), ("POST", "/system/services")):
        fits = await admin.request(method, path, content=stream(DOCUMENT))
        assert fits.status_code in (400, 422)
        answer = await admin.request(method, path, content=stream(DOCUMENT + 1))
        assert answer.status_code == 413
        assert str(DOCUMENT) in answer.text


async def test_nobody_gets_a_body_read(admin: httpx.AsyncClient) -> None:
    body = Counted(1000)
    answer = await admin.post("/job/grayify", content=body, auth=("oscar", "wrong"))
    assert (answer.status_code, body.sent) == (401, 0)


async def test_too_many_headers(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/health", headers=[(f"X-{number}", "x") for number in range(50)])
    assert (answer.status_code, answer.headers["connection"]) == (431, "close")


async def test_too_large_headers(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/v2/services", headers={"X-Long": "x" * 5000})
    assert answer.status_code == 431
    assert answer.json()["title"] == "Request Header Fields Too Large"


async def test_a_big_body_does_not_stay_in_memory(tmp_path: Path) -> None:
    body = await read_body(stream(IN_MEMORY + 10, 100_000), 10 * IN_MEMORY, tmp_path)
    assert body.size == IN_MEMORY + 10
    assert body.file._rolled is True  # type: ignore[attr-defined]
    assert await body.content() == b" " * body.size
    body.file.close()
    assert os.listdir(tmp_path) == []  # the file never had a name


async def test_a_refused_body_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ApiError):
        await read_body(stream(3 * IN_MEMORY, 100_000), 2 * IN_MEMORY, tmp_path)
    assert os.listdir(tmp_path) == []
