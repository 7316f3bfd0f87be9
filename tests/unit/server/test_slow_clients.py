# SPDX-License-Identifier: Apache-2.0
"""Slow and broken clients against a real server on a loopback port: they are cut, the others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
from parts.api_invoker import PASSWORD, ApiInvoker

from oscar_fedcloud.api.app import create_app
from oscar_fedcloud.server.limits import Limits, server_options

AUTH = b"Authorization: Basic " + b64encode(f"oscar:{PASSWORD}".encode()) + b"\r\n"
IDLE = 0.4


class Server:
    """A running server and raw connections to it."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server = server
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(
        self, sent: bytes = b"", receive_buffer: int = 0
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
        writer.write(sent)
        self._writers.append(writer)
        return reader, writer

    async def close_clients(self) -> None:
        """Close all connections, and wait until they are gone: what the event loop still holds would be a leak."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def healthy(self) -> bool:
        """Ask until there is an answer: a machine that stalls for longer than the patience cuts this request, too."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", verify=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get("/health")).text == "Ok"

    async def without_connections(self) -> None:
        while self.server.server_state.connections:  # noqa: ASYNC110  uvicorn tells of nothing
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(invoker: ApiInvoker, **changes: Any) -> AsyncIterator[Server]:
    """A server with short patience."""
    bounds: dict[str, Any] = {"max_body": 10**8, "max_header_bytes": 8192, "idle": IDLE, "keep_alive": 1}
    limits = Limits(**{**bounds, **changes})
    listener = socket.create_server(("127.0.0.1", 0))
    options = server_options(limits)
    config = uvicorn.Config(
        create_app(invoker, limits=limits), lifespan="off", log_config=None, access_log=False, **options
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  uvicorn tells of nothing
        await asyncio.sleep(0.01)
    running = Server(server, listener.getsockname()[1])
    try:
        async with asyncio.timeout(60):  # a net for the whole test, not a measure
            yield running
    finally:
        await running.close_clients()
        server.should_exit = server.force_exit = True
        await task
        listener.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that the server says until it closes or cuts the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(2**16):
            found += chunk
    return found


async def pour(writer: asyncio.StreamWriter, drop: bytes, most: int = 10**7) -> int:
    """Write for ever, until the server cuts the connection; how much went out."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most and not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            sent += len(drop)
            await asyncio.sleep(0)
    return sent


@pytest.mark.parametrize("head", [b"", b"G", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"\r\n\r\n\r\n"])
async def test_heads_that_never_come(invoker: ApiInvoker, head: bytes) -> None:
    async with serving(invoker) as server:
        readers = [await server.connect(head) for _ in range(30)]
        assert await server.healthy()
        for reader, writer in readers:
            assert await rest(reader) == b""
            writer.close()
        await server.without_connections()


async def test_a_head_that_drips(invoker: ApiInvoker) -> None:
    async with serving(invoker) as server:
        reader, writer = await server.connect(b"GET /health HTTP/1.1\r\n")
        cut = asyncio.create_task(rest(reader))
        while not cut.done():
            writer.write(b"X-A: b\r\n")
            await asyncio.sleep(IDLE / 8)
        assert b" 200 " not in cut.result()
        writer.close()
        await server.without_connections()


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"GET /health HTTP/1.1\r\nX: ", b"x" * 4096),
        (b"GET /health HTTP/1.1\r\n", b"X-A: " + b"b" * 500 + b"\r\n"),
        (b"GET /", b"a" * 4096),
        (b"POST /job/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"t" * 4096),
        (b"POST /job/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=", b"e" * 4096),
    ],
    ids=["one header", "many headers", "address", "trailer", "chunk extension"],
)
async def test_heads_without_end(invoker: ApiInvoker, start: bytes, drop: bytes) -> None:
    async with serving(invoker, idle=10.0) as server:
        _, writer = await server.connect(start)
        assert await pour(writer, drop) < 10**7
        writer.close()
        await server.without_connections()
        assert await server.healthy()


async def test_a_head_that_is_too_large_is_told_so(invoker: ApiInvoker) -> None:
    async with serving(invoker) as server:
        reader, writer = await server.connect(b"GET /health HTTP/1.1\r\nX: " + b"x" * 10_000)
        assert (await rest(reader)).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_a_body_that_stops(invoker: ApiInvoker) -> None:
    async with serving(invoker) as server:
        invoker.store.ensure_bucket("b-1")
        head = b"PUT /v2/buckets/b-1/objects/x HTTP/1.1\r\n" + AUTH + b"Content-Length: 1000\r\n\r\n"
        clients = [await server.connect(head + b"some of it") for _ in range(10)]
        assert await server.healthy()
        for reader, writer in clients:
            answer = await rest(reader)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"application/problem+json" in answer
            writer.close()
        assert invoker.store.content == {"b-1": {}}


async def test_a_body_that_drips(invoker: ApiInvoker) -> None:
    async with serving(invoker, grace=0.5, min_rate=1e6) as server:
        invoker.store.ensure_bucket("b-1")
        head = b"PUT /v2/buckets/b-1/objects/x HTTP/1.1\r\n" + AUTH + b"Content-Length: 1000\r\n\r\n"
        reader, writer = await server.connect(head)
        answer = asyncio.create_task(rest(reader))
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(IDLE / 8)
        assert answer.result().startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_body_that_is_merely_slow(invoker: ApiInvoker) -> None:
    async with serving(invoker, idle=5.0) as server:
        invoker.store.ensure_bucket("b-1")
        head = b"PUT /v2/buckets/b-1/objects/x HTTP/1.1\r\nConnection: close\r\n" + AUTH + b"Content-Length: 10\r\n\r\n"
        reader, writer = await server.connect(head)
        for _ in range(10):
            writer.write(b"x")
            await asyncio.sleep(0.02)
        assert (await rest(reader)).startswith(b"HTTP/1.1 201 ")
        assert invoker.store.content == {"b-1": {"x": b"x" * 10}}
        writer.close()


async def test_a_client_that_leaves_in_the_middle(invoker: ApiInvoker) -> None:
    async with serving(invoker) as server:
        invoker.store.ensure_bucket("b-1")
        head = b"PUT /v2/buckets/b-1/objects/x HTTP/1.1\r\n" + AUTH + b"Content-Length: 1000\r\n\r\n"
        _, writer = await server.connect(head + b"some of it")
        await writer.drain()
        writer.close()
        await server.without_connections()
        assert await server.healthy()
        assert invoker.store.content == {"b-1": {}}


async def test_a_client_that_does_not_read(invoker: ApiInvoker) -> None:
    async with serving(invoker) as server:
        invoker.store.content["b-1"] = {"big": bytes(50_000_000)}
        request = b"GET /v2/buckets/b-1/objects/big HTTP/1.1\r\n" + AUTH + b"\r\n"
        clients = [await server.connect(request, receive_buffer=4096) for _ in range(5)]
        assert await server.healthy()
        await server.without_connections()  # although the clients still hold theirs
        assert await server.healthy()
        for _, writer in clients:
            writer.close()


@pytest.mark.parametrize("words", [b"\x16\x03\x01\x02\x00\x01\x00", b"HELO x\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"])
async def test_what_is_no_http(invoker: ApiInvoker, words: bytes) -> None:
    async with serving(invoker) as server:
        reader, writer = await server.connect(words)
        answer = await rest(reader)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 500 "))
        writer.close()
        assert await server.healthy()


async def test_idle_connections_give_way_to_new_ones(invoker: ApiInvoker) -> None:
    async with serving(invoker, max_connections=5, idle=30.0) as server:
        held = [await server.connect(b"GET /") for _ in range(20)]
        async with httpx.AsyncClient(verify=False) as client:
            for path in ("/health", "/livez", "/openapi.json"):
                assert (await client.get(f"http://127.0.0.1:{server.port}{path}")).status_code == 200
        for reader, _ in held[:15]:
            assert await rest(reader) == b"", "the oldest were closed"
        for _, writer in held:
            writer.close()
        await server.without_connections()


async def test_a_kept_connection_stays_while_others_never_send(invoker: ApiInvoker) -> None:
    async with serving(invoker, max_connections=5, idle=30.0, keep_alive=30) as server:
        reader, writer = await server.connect(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"Ok")
        held = [await server.connect() for _ in range(20)]
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"Ok")
        for _, one in (*held, (reader, writer)):
            one.close()
        await server.without_connections()


async def test_busy_connections_have_a_limit_that_spares_health(invoker: ApiInvoker) -> None:
    head = b"PUT /v2/buckets/bbb/objects/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n" + AUTH + b"\r\n"
    async with serving(invoker, max_connections=5, idle=30.0) as server:
        held = [await server.connect(head) for _ in range(6)]
        async with httpx.AsyncClient(verify=False) as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/openapi.json")).status_code == 503
            assert (await client.get(f"http://127.0.0.1:{server.port}/health")).status_code == 200
        for _, writer in held:
            writer.close()
        await server.without_connections()
        assert await server.healthy()


async def test_a_connection_may_rest_between_requests(invoker: ApiInvoker) -> None:
    async with serving(invoker, keep_alive=10) as server:
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"Ok")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(IDLE * 3)
        writer.close()


async def test_requests_one_behind_the_other(invoker: ApiInvoker) -> None:
    async with serving(invoker) as server:
        reader, writer = await server.connect(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            assert b" 200 " in await reader.readuntil(b"Ok")
        writer.close()


async def test_an_upload_asks_before_it_sends(invoker: ApiInvoker) -> None:
    async with serving(invoker) as server:
        head = b"POST /v2/services:apply HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n"
        reader, writer = await server.connect(head + AUTH + b"\r\n")
        assert (await rest(reader)).startswith(b"HTTP/1.1 413 ")
        writer.close()
