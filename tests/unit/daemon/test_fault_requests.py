# SPDX-License-Identifier: Apache-2.0
"""Every call that only a request makes fails, hangs and returns garbage: that request gets an error, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from parts.fault_walk import BY_REQUEST, healthy
from parts.memory_site import SITE, Kind, Site, on_memory_site
from structlog.testing import capture_logs

from oscar_fedcloud.api.app import create_app
from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.sources.webhook import BODY_LIMIT, Webhook

TOKEN = "token-of-the-hook"
HOOK = "/hooks/minio/default/durable"
# Called after events, whose sender gets its answer before or sends them again.
BY_WEBHOOK = {"store.parse", "ledger.record_dead_letter", "ledger.reorder"}
PATIENCE = 400.0  # s of a client; a store has 300 s for a call


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with capture_logs():
        yield


@asynccontextmanager
async def client_of(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator, and the store's webhook beside the API."""
    hook = Webhook(site.invoker.stores[SITE], "durable", [TOKEN], site.invoker.intake)
    transport = httpx.ASGITransport(create_app(site.invoker, {HOOK: hook}))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://oscar.example", auth=(site.config.admin_user, "secret"), timeout=None
    ) as client:
        yield client


class Day:
    """All kinds of requests, whatever becomes of each of them. ``answers``: what was answered, None = nothing."""

    def __init__(self, site: Site, client: httpx.AsyncClient, name: str) -> None:
        self.site, self.client, self.name = site, client, name
        self.answers: list[tuple[str, httpx.Response | None]] = []

    async def prepare(self) -> None:
        """Have an ended job, one that runs, and dead letters to ask for."""
        site = self.site
        site.launcher.length = 1.0
        await site.deliver(site.store.upload("steady", f"in/{self.name}-ended"))
        await site.quiet()
        site.launcher.length = None
        await site.deliver(site.store.upload("steady", f"in/{self.name}-runs"))
        await site.until(lambda: site.launcher.live)
        for _ in range(2):
            await site.invoker.ledger.record_dead_letter(SITE, b"{}", "it cannot be read")
        self.ended = site.runs(states=[RunState.SUCCEEDED])[0].id
        self.running = site.runs(states=[RunState.RUNNING])[0].id
        self.letters = [letter.id for letter in site.invoker.ledger.dead_letters(limit=2)]

    async def ask(self, method: str, path: str, **more: Any) -> None:
        """One request, whose answer somebody waits for no longer than they like."""
        answer = None
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self.client.request(method, path, **more)
        except TimeoutError:
            pass
        self.answers.append((f"{method} {path}", answer))

    async def spend(self) -> None:
        for path in (
            "/v2/buckets",
            "/v2/jobs",
            f"/v2/jobs/{self.ended}/log",
            f"/v2/jobs/{self.running}/log",
            f"/v2/jobs/{self.running}",
            f"/v2/jobs/{self.ended}/chain",
            f"/system/logs/steady/{self.ended}",
            "/v2/why?bucket=steady&key=in/nothing",
            "/v2/why?bucket=steady&key=in/a",
            "/v2/dead-letters",
            "/v2/services/steady/revisions",
            "/system/status",
            "/metrics",
        ):
            await self.ask("GET", path)
        thing = f"/v2/buckets/steady/objects/other/{self.name}"
        await self.ask("PUT", thing, content=b"x")
        await self.ask("GET", thing)
        await self.ask("DELETE", thing)
        for key in (f"{self.name}-a", f"{self.name}-b"):
            headers = {"Idempotency-Key": key}
            await self.ask("POST", "/v2/services/steady/jobs", content=b"x", headers=headers)
        await self.ask("POST", "/v2/services/gone/jobs", content=b"x", headers={"Idempotency-Key": f"{self.name}-c"})
        await self.ask("POST", f"/v2/jobs/{self.ended}:replay")
        await self.ask("POST", f"/v2/dead-letters/{self.letters[0]}:replay")
        await self.ask("DELETE", f"/v2/dead-letters/{self.letters[1]}")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        for body in (b"{}", b"x" * (BODY_LIMIT + 1)):
            await self.ask("POST", HOOK, content=body, headers=bearer, auth=None)
        await self.upload_with_a_wrong_time()
        await self.ask("DELETE", f"/system/logs/steady/{self.ended}")
        await self.ask("DELETE", "/system/logs/steady")

    async def upload_with_a_wrong_time(self) -> None:
        """A revision of the future is followed by the one that the store has."""
        right = self.site.store.upload("steady", f"in/{self.name}-time")
        wrong = replace(right, revision="wrong", order=2**62)
        for event in (wrong, right):
            await self.site.deliver(event)
        await asyncio.sleep(30)

    def failed(self) -> list[str]:
        """The requests whose answer was an error of the server."""
        return [what for what, answer in self.answers if answer is not None and answer.status_code >= 500]

    def check(self) -> None:
        """See that every answer is of use to a person."""
        for what, answer in self.answers:
            if answer is None or HOOK in what or answer.status_code < 400:
                continue
            for word in ("Traceback", 'File "', "Unexpected", "object at 0x"):
                assert word not in answer.text, f"{what}: {answer.text}"
            if what.partition(" ")[2].startswith("/v2/"):
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["detail"], what
            assert answer.text, what


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("call", sorted(BY_REQUEST))
def test_a_request_that_fails_is_told_so_and_harms_nothing(call: str, kind: Kind, tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.declare("steady")
        await site.ready("steady")
        async with client_of(site) as client:
            day = Day(site, client, kind)
            await day.prepare()
            fault = site.gates.set(call, kind)
            await day.spend()
            site.gates.lift()
            day.check()
            unanswered = [what for what, answer in day.answers if answer is None]
            assert fault.hits, f"no request makes the call {call}"
            assert kind == "hang" or not unanswered
            assert not (call.startswith("store.") and unanswered), "a call to a store has a time limit"
            if kind == "before" and call not in BY_WEBHOOK:
                assert day.failed(), "nobody is told of the trouble"
            site.launcher.length = 1.0
            for job in list(site.launcher.live):
                site.launcher.end(job)
            await healthy(site)
            assert not any(site.invoker.tasks.restarts().values())
            after = Day(site, client, "after")
            await after.prepare()
            await after.spend()
            after.check()
            assert not after.failed()
            assert all(answer is not None for _, answer in after.answers)
            site.launcher.length = 1.0
            for job in list(site.launcher.live):
                site.launcher.end(job)
            await healthy(site)

    on_memory_site(tmp_path, story)
