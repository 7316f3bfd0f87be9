# SPDX-License-Identifier: Apache-2.0
"""The short way of events through the server: same answers as the general way, and never for anything but an event."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.server.event_fast_path import plain_event
from oscar_fedcloud.server.limits import Limits, server_options

PATH = "/hooks/minio/minio.default/durable"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n".encode()


def post(body: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Hook:
    """Answers with the status that its body names, ``later`` when it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.waiting: list[Callable[[], None]] = []

    def answer(self, authorization: bytes, body: bytes, tell: Callable[[int], None]) -> None:
        self.bodies.append(body)
        if body == b"later":
            self.waiting.append(lambda: tell(200))
        else:
            tell(int(body) if authorization == b"Bearer t" else 401)

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """The general way."""
        body, more = b"", scope["path"] == PATH
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        text = b"general " + scope["path"].encode() + b" " + body
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)


@contextlib.asynccontextmanager
async def serving(hook: Hook, **limits: float) -> AsyncIterator[tuple[Client, uvicorn.Server]]:
    listener = socket.create_server(("127.0.0.1", 0))
    options = server_options(Limits(**{"idle": 5.0, **limits}), {PATH: hook})  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(hook, lifespan="off", log_config=None, access_log=False, **options))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  uvicorn tells of nothing
        await asyncio.sleep(0.01)
    client = Client(*await asyncio.open_connection(*listener.getsockname()))
    try:
        async with asyncio.timeout(20):
            yield client, server
    finally:
        client.writer.close()
        server.should_exit = server.force_exit = True
        await task


@pytest.fixture
def hook() -> Hook:
    return Hook()


async def test_events_and_other_requests_share_a_connection(hook: Hook) -> None:
    async with serving(hook) as (client, server):
        for status in (200, 503, 200):
            client.send(post(b"%d" % status))
            assert await client.receive() == (status, b"")
            client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await client.receive() == (200, b"general /health ")
        client.send(post(b"200", HEAD.replace(b"Bearer t", b"Bearer wrong")))
        assert await client.receive() == (401, b"")
        assert server.server_state.total_requests == 7


async def test_an_event_in_pieces_takes_the_general_way(hook: Hook) -> None:
    async with serving(hook) as (client, _):
        whole = post(b"200")
        client.send(whole[:-1])
        await asyncio.sleep(0.1)
        client.send(whole[-1:])
        assert (await client.receive())[1].startswith(b"general")
        client.send(whole)
        assert await client.receive() == (200, b"")


async def test_a_body_that_looks_like_an_event_is_a_body(hook: Hook) -> None:
    async with serving(hook) as (client, _):
        inner = post(b"200")
        client.send(b"POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner))
        await asyncio.sleep(0.1)
        client.send(inner)
        assert await client.receive() == (200, b"general /other ")
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.receive() == (200, b"general /health ")
        assert hook.bodies == []


async def test_what_comes_before_the_answer_waits_for_it(hook: Hook) -> None:
    async with serving(hook) as (client, _):
        client.send(post(b"later"))
        await asyncio.sleep(0.1)
        client.send(post(b"503"))
        await asyncio.sleep(0.1)
        assert hook.bodies == [b"later"]
        hook.waiting[0]()
        assert await client.receive() == (200, b"")
        assert await client.receive() == (503, b"")


async def test_who_sends_on_without_end_is_cut(hook: Hook) -> None:
    async with serving(hook, max_header_bytes=8192) as (client, _):
        client.send(post(b"later"))
        await asyncio.sleep(0.1)
        client.send(b"x" * 9000)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.receive()
        hook.waiting[0]()


async def test_an_answer_that_takes_long_is_waited_for(hook: Hook) -> None:
    async with serving(hook, idle=0.2) as (client, _):
        client.send(post(b"later"))
        await asyncio.sleep(1)
        hook.waiting[0]()
        assert await client.receive() == (200, b"")


async def test_a_stopping_server_answers_the_event_that_it_has(hook: Hook) -> None:
    async with serving(hook) as (client, server):
        client.send(post(b"later"))
        await asyncio.sleep(0.1)
        server.should_exit = True
        await asyncio.sleep(0.3)
        hook.waiting[0]()
        assert await client.receive() == (200, b"")
        assert await client.reader.read() == b""


@pytest.mark.parametrize(
    "request_",
    [
        post(b"200", HEAD + b"Transfer-Encoding: chunked\r\n"),
        post(b"200", HEAD + b"Expect: 100-continue\r\n"),
        post(b"200", HEAD + b"Connection: close\r\n"),
        post(b"200", HEAD + b"Content-Length: 3\r\n"),
        post(b"200", HEAD + b"Authorization: Bearer t\r\n"),
        post(b"200", HEAD + b" folded\r\n"),
        post(b"200", HEAD + b"Host : x\r\n"),
        post(b"200", HEAD.replace(b"Host: x", b"Host: x\nTransfer-Encoding: chunked")),
        post(b"200", HEAD.replace(b"POST", b"PUT")),
        post(b"200", HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")),
        post(b"200", HEAD.replace(b"/durable", b"/durable?x")),
        post(b"200")[:-1],
        post(b"200") + b"x",
        post(b"200") + post(b"200"),
        HEAD + b"\r\n",
        HEAD + b"Content-Length: +3\r\n\r\n200",
        HEAD + b"X: " + b"x" * 40_000 + b"\r\nContent-Length: 3\r\n\r\n200",
        b"",
    ],
)
def test_what_is_not_plain(request_: bytes, hook: Hook) -> None:
    assert plain_event(request_, {PATH.encode(): hook}, 32_768) is None


@given(st.binary(max_size=300))
def test_any_body_is_taken_as_it_is(body: bytes) -> None:
    found = plain_event(post(body), {PATH.encode(): Hook()}, 32_768)
    assert found is not None
    assert (found.body, found.authorization) == (body, b"Bearer t")
