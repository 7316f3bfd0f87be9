# SPDX-License-Identifier: Apache-2.0
"""The webhook endpoint behind a real ASGI server, with the real MinIO as its client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from parts.minio import MinioServer
from parts.ports import free_port
from parts.waiting import eventually_here

from oscar_fedcloud.config import Hooks, ProviderConfig
from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.sources.webhook import Webhook
from oscar_fedcloud.storage.minio.store import MinioStore
from oscar_fedcloud.storage.registry import make_provider

PATH = "/hooks/minio/minio.default"


class Intake:
    """Keeps events while ``open``; refuses them otherwise; waits while ``free`` is not set."""

    def __init__(self) -> None:
        self.events: list[StorageEvent] = []
        self.letters: list[bytes] = []
        self.refused = 0
        self.open = True
        self.free = asyncio.Event()
        self.free.set()

    async def record(self, events: list[StorageEvent]) -> None:
        await self.free.wait()
        if not self.open:
            self.refused += 1
            raise LedgerUnavailable("closed")
        self.events += events

    async def keep_dead_letter(self, source: str, body: bytes, reason: str) -> None:
        self.letters.append(body)

    def got(self, key: str, via: Origin) -> list[StorageEvent]:
        return [event for event in self.events if event.key == key and event.via is via]


class Site:
    """MinIO, its provider, and the two endpoints."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.server = MinioServer(folder, hooks=f"http://127.0.0.1:{self.port}{PATH}").start()
        config = ProviderConfig(
            type="minio",
            endpoint=self.server.endpoint,
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
            hooks=Hooks(),
        )
        provider = make_provider("minio.default", config)
        assert isinstance(provider, MinioStore)
        self.provider = provider
        self.intake = Intake()
        self.tokens: dict[str, list[str]] = {"fast": [self.server.fast_token], "durable": [self.server.durable_token]}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        way = scope["path"].removeprefix(f"{PATH}/")
        await Webhook(self.provider, way, self.tokens[way], self.intake)(scope, receive, send)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = uvicorn.Server(uvicorn.Config(self, host="127.0.0.1", port=self.port, log_config=None, lifespan="off"))
        task = asyncio.create_task(server.serve())
        await eventually_here(lambda: server.started)
        try:
            yield
        finally:
            server.should_exit = server.force_exit = True
            await task

    async def put(self, key: str, body: bytes = b"x") -> StorageEvent:
        return await asyncio.to_thread(self.provider.put, "data", key, body)


@pytest.fixture
def site(tmp_path: Path):
    made = Site(tmp_path)
    try:
        made.provider.ensure_bucket("data")
        made.provider.ensure_rules("data", ["in/"])
        yield made
    finally:
        made.server.close()


async def test_both_targets_tell_of_an_upload_and_name_it_alike(site: Site) -> None:
    async with site.listening():
        stored = await site.put("in/a b\n+%é", b"content")
        await eventually_here(
            lambda: site.intake.got(stored.key, Origin.FAST) and site.intake.got(stored.key, Origin.DURABLE)
        )
        assert {event.revision for event in site.intake.events} == {stored.revision}


async def test_what_was_uploaded_while_nobody_listened_comes_durably(site: Site) -> None:
    await site.put("in/early")
    async with site.listening():
        await eventually_here(lambda: site.intake.got("in/early", Origin.DURABLE))
    assert {event.key for event in site.intake.events} == {"in/early"}


async def test_a_ledger_that_is_away_delays_events_and_loses_none(site: Site) -> None:
    site.intake.open = False
    async with site.listening():
        for number in range(3):
            await site.put(f"in/{number}")
        await eventually_here(lambda: site.intake.refused >= 4)
        assert site.intake.events == []
        site.intake.open = True
        await eventually_here(lambda: all(site.intake.got(f"in/{number}", Origin.DURABLE) for number in range(3)))
        assert site.intake.letters == []


async def test_a_commit_that_hangs_does_not_hold_up_uploads(site: Site) -> None:
    site.intake.free.clear()
    async with site.listening():
        await asyncio.wait_for(site.put("in/a"), 5)
        site.intake.free.set()
        await eventually_here(lambda: site.intake.got("in/a", Origin.DURABLE))
    assert site.intake.letters == []


async def test_events_wait_while_a_token_is_wrong(site: Site) -> None:
    right, site.tokens["durable"] = site.tokens["durable"], ["another token"]
    async with site.listening():
        await site.put("in/a")
        await eventually_here(lambda: site.intake.got("in/a", Origin.FAST))
        await asyncio.sleep(0.2)  # in which it must not come
        assert site.intake.got("in/a", Origin.DURABLE) == []
        site.tokens["durable"] += right
        await eventually_here(lambda: site.intake.got("in/a", Origin.DURABLE))
    assert site.intake.letters == []


async def test_a_forged_event_leaves_nothing(site: Site) -> None:
    async with site.listening(), httpx.AsyncClient(base_url=f"http://127.0.0.1:{site.port}{PATH}") as client:
        for headers in ({}, {"Authorization": "Bearer guess"}, {"Authorization": f"Bearer {site.server.secret_key}"}):
            for body in (b'{"Records":[]}', b"x" * 2_000_000):
                answer = await client.post("/durable", content=body, headers=headers)
                assert answer.status_code == 401
        headers = {"Authorization": f"Bearer {site.server.durable_token}"}
        answer = await client.post("/durable", content=b"not json", headers=headers)
        assert answer.status_code == 200
    assert (site.intake.events, site.intake.letters) == ([], [b"not json"])


async def test_listing_finds_what_a_rule_that_was_away_missed(site: Site) -> None:
    async with site.listening():
        await asyncio.to_thread(site.server.client().delete_bucket_notification, "data")
        missed = await site.put("in/missed")
        assert await asyncio.to_thread(site.provider.ensure_rules, "data", ["in/"])
        await site.put("in/later")
        await eventually_here(lambda: site.intake.got("in/later", Origin.DURABLE))
        assert not [event for event in site.intake.events if event.key == "in/missed"]
        listed = await asyncio.to_thread(lambda: list(site.provider.list(Prefix("data", "in/"))))
        assert missed.revision in {event.revision for event in listed}
