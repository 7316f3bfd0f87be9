# SPDX-License-Identifier: Apache-2.0
"""A token that runs out is read again from its file, and cuts off no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from oscar_fedcloud.kube import KubeClient, KubeError


class Server:
    """An API server that takes one token, and answers ``/held`` only when it is let go."""

    def __init__(self) -> None:
        self.token = "first"
        self.arrived, self.release = asyncio.Event(), asyncio.Event()
        self.refused = 0

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            self.refused += 1
            return web.json_response({"kind": "Status", "message": "Unauthorized"}, status=401)
        if request.path == "/held":
            self.arrived.set()
            await self.release.wait()
        return web.json_response({"path": request.path})


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server, and a kubeconfig for it whose token is in a file."""
    made = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    (tmp_path / "token").write_text("first\n")
    config = {
        "clusters": [{"name": "site", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {"tokenFile": str(tmp_path / "token")}}],
        "contexts": [{"name": "site", "context": {"cluster": "site", "user": "me"}}],
        "current-context": "site",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    yield made
    await runner.cleanup()


@pytest.fixture
async def client(server: Server, tmp_path: Path) -> AsyncIterator[KubeClient]:
    made = KubeClient(str(tmp_path / "kubeconfig"))
    yield made
    await made.close()


async def test_many_requests_with_a_token_that_ran_out_succeed(
    server: Server, client: KubeClient, tmp_path: Path
) -> None:
    assert await client.request("GET", "/a") == {"path": "/a"}
    server.token = "second"
    (tmp_path / "token").write_text("second\n")
    answers = await asyncio.gather(*(client.request("GET", f"/{number}") for number in range(100)))
    assert answers == [{"path": f"/{number}"} for number in range(100)]
    assert server.refused >= 1


async def test_a_request_under_way_is_not_cut_off(server: Server, client: KubeClient, tmp_path: Path) -> None:
    held = asyncio.create_task(client.request("GET", "/held"))
    await server.arrived.wait()
    server.token = "second"
    (tmp_path / "token").write_text("second\n")
    assert await client.request("GET", "/b") == {"path": "/b"}
    server.release.set()
    assert await held == {"path": "/held"}


async def test_a_token_that_was_not_renewed_is_an_error_each_time(server: Server, client: KubeClient) -> None:
    server.token = "second"
    for _ in range(3):
        with pytest.raises(KubeError) as caught:
            await client.request("GET", "/c")
        assert caught.value.status == 401
