# SPDX-License-Identifier: Apache-2.0
"""Bodies are bounded in all and for each identity; who finds no room waits, and is then told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from parts.api_invoker import PASSWORD, ApiInvoker

from oscar_fedcloud.api.app import create_app
from oscar_fedcloud.server.budget import Budget
from oscar_fedcloud.server.limits import Limits
from oscar_fedcloud.server.problems import ApiError

SIZE = 60_000


@pytest.fixture
async def small(invoker: ApiInvoker) -> AsyncIterator[httpx.AsyncClient]:
    """A server that holds two bodies of the largest size at once, and waits for none."""
    limits = Limits(max_body=SIZE, max_document=SIZE, max_pending=2 * SIZE, patience=0.0)
    invoker.store.ensure_bucket("pictures")
    transport = httpx.ASGITransport(create_app(invoker, limits=limits))
    async with httpx.AsyncClient(transport=transport, base_url="http://x", auth=("oscar", PASSWORD)) as client:
        yield client


class Slow:
    """A body that is sent until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        yield bytes(SIZE - 1)
        self.begun.set()
        await self.end.wait()
        yield b"x"


async def upload(client: httpx.AsyncClient, key: str, body: Any, **headers: str) -> httpx.Response:
    return await client.put(f"/v2/buckets/pictures/objects/{key}", content=body, headers=headers)


@pytest.mark.parametrize("announced", [True, False])
async def test_one_identity_has_its_share(small: httpx.AsyncClient, invoker: ApiInvoker, announced: bool) -> None:
    slow = Slow()
    headers = {"Content-Length": str(SIZE)} if announced else {}
    first = asyncio.create_task(upload(small, "a", slow.chunks(), **headers))
    await slow.begun.wait()
    refused = await upload(small, "b", bytes(SIZE))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert f"{SIZE} are allowed at once" in refused.json()["detail"]
    slow.end.set()
    assert (await first).status_code == 201
    assert (await upload(small, "b", bytes(SIZE))).status_code == 201, "what was held is free again"
    assert set(invoker.store.content["pictures"]) == {"a", "b"}


async def test_all_identities_have_a_total() -> None:
    budget = Budget(total=100, largest=40, patience=0.0)
    rooms = [budget.room(name) for name in ("a", "b", "c")]
    for room in rooms[:2]:
        await room.take(45)
    with pytest.raises(ApiError) as refused:
        await rooms[2].take(11)
    assert refused.value.status == 503
    await rooms[2].take(10)
    assert budget.held == 100
    for room in rooms:
        room.give_back()
        room.give_back()
    assert budget.held == 0


async def test_who_finds_no_room_waits_for_it() -> None:
    budget = Budget(total=100, largest=100, patience=60.0)
    first, second = budget.room("a"), budget.room("a")
    await first.take(80)
    waiting = asyncio.create_task(second.take(50))
    await asyncio.sleep(0)
    assert not waiting.done()
    first.give_back()
    await waiting
    assert budget.held == 50
    with pytest.raises(ApiError):  # it holds some already, so it does not wait for more
        await second.take(60)


async def test_a_request_that_fails_holds_nothing(small: httpx.AsyncClient) -> None:
    for _ in range(5):
        assert (await small.put("/v2/buckets/nosuch/objects/a", content=bytes(SIZE))).status_code == 404
        assert (await upload(small, "a", bytes(SIZE + 1))).status_code == 413
    assert (await upload(small, "a", bytes(SIZE))).status_code == 201
