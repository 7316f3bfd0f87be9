# SPDX-License-Identifier: Apache-2.0
"""Callbacks reach what they may reach, in bounded time and memory, and no receiver delays another."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.waiting import eventually_here

from oscar_fedcloud.callbacks import posting
from oscar_fedcloud.callbacks import sender as callbacks
from oscar_fedcloud.callbacks.posting import Poster
from oscar_fedcloud.callbacks.sender import Callbacks
from oscar_fedcloud.catalogue.callback_addresses import callback_rule, chosen, networks_of, refusal
from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.domain.runs import AttemptState, Completion, RunState, run_id
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.ledger import Ledger, RunTransition

LOOPBACK = networks_of(["127.0.0.0/8"])
HIDDEN = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.100.100.200",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", HIDDEN)
def test_addresses_inside_the_site_are_refused_unless_they_are_named(address: str) -> None:
    found = ip_address(address)
    assert str(found) in refusal(found, ())
    assert refusal(found, [ip_network(address)]) == ""


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses_are_not_refused(address: str) -> None:
    assert refusal(ip_address(address), ()) == ""


@given(st.ip_addresses(v=4))
def test_an_address_counts_as_what_it_stands_for(address: object) -> None:
    mapped = ip_address(f"::ffff:{address}")
    translated = ip_address(int(ip_address("64:ff9b::")) + int(address))
    assert bool(refusal(address, ())) == bool(refusal(mapped, ())) == bool(refusal(translated, ()))


def test_of_several_addresses_those_that_may_be_reached_are_used() -> None:
    good, why = chosen([ip_address("10.0.0.1"), ip_address("8.8.8.8")], ())
    assert good == [ip_address("8.8.8.8")]
    assert chosen([], ())[1] == "the host has no address"
    assert "10.0.0.1" in why


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "https://localhost:8443/",
        "http://LOCALHOST./",
        "http://a.localhost",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://[::1]:80/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
    ],
)
def test_what_can_be_told_from_the_url_is_told_when_it_is_declared(url: str) -> None:
    (problem,) = callback_rule(())(Service(name="svc", callback=url))
    assert problem.path == "callback"
    everything = networks_of(["0.0.0.0/0", "::/0"])
    assert list(callback_rule(everything)(Service(name="svc", callback=url))) == []


@pytest.mark.parametrize("url", ["", "https://example.org/hook", "http://8.8.8.8/", "http://[", "http://999999999999/"])
def test_other_urls_are_left_to_the_moment_of_sending(url: str) -> None:
    assert list(callback_rule(())(Service(name="svc", callback=url))) == []


# -- posting -------------------------------------------------------------------------------------------------------

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def receiver(*answer: bytes, pause: float = 0.0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The URL of a receiver that answers in these parts, and what it was sent."""
    sent: list[bytes] = []
    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        try:
            sent.append(await reader.readuntil(b"\r\n\r\n"))
            for part in answer:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
        except OSError:
            return
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", sent
        finally:
            for task in filter(None, served):
                task.cancel()
            await asyncio.gather(*filter(None, served), return_exceptions=True)


async def post(url: str, networks=LOOPBACK, **more: object) -> str:
    poster = Poster(networks, **more)
    try:
        return await poster.post(url, b"{}", {"X-Oscar-Signature": "s"})
    finally:
        await poster.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def test_a_message_is_delivered_under_the_name_of_its_receiver() -> None:
    async with receiver(OK) as (url, sent):
        named = url.replace("127.0.0.1", "hooks.example")
        assert await post(named, resolve=lambda host, port: [ip_address("127.0.0.1")]) == ""
    head = sent[0].decode().lower()
    assert head.startswith("post /hook http/1.1")
    assert f"host: {named.split('/')[2]}" in head


@pytest.mark.parametrize("networks", [(), networks_of(["10.0.0.0/8"])])
async def test_nothing_is_sent_to_an_address_that_is_not_named(networks: object) -> None:
    async with receiver(OK) as (url, sent):
        assert "callback_networks" in await post(url, networks)
        named = url.replace("127.0.0.1", "rebound.example")
        assert "callback_networks" in await post(named, networks, resolve=lambda *_: [ip_address("127.0.0.1")])
    assert sent == []


async def test_the_address_that_was_checked_is_the_one_that_is_used() -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list:
        asked.append(host)
        return [ip_address("127.0.0.1")]

    async with receiver(OK) as (url, sent):
        assert await post(url.replace("127.0.0.1", "rebound.example"), resolve=rebinding) == ""
    assert (len(asked), len(sent)) == (1, 1)


async def test_another_address_is_tried_when_the_first_does_not_answer() -> None:
    async with receiver(OK) as (url, _):
        addresses = [ip_address("127.0.0.2"), ip_address("127.0.0.1")]
        assert await post(url.replace("127.0.0.1", "two.example"), resolve=lambda *_: addresses) == ""


async def test_redirections_are_not_followed() -> None:
    async with receiver(OK) as (inside, inside_sent):
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {inside}\r\nContent-Length: 0\r\n\r\n".encode()
        async with receiver(moved) as (url, _):
            assert "redirections are not followed" in await post(url)
    assert inside_sent == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"0" * 10_000_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
async def test_the_body_of_an_answer_is_not_looked_at(answer: bytes) -> None:
    async with receiver(answer) as (url, _):
        assert await post(url) == ""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xfe\x00",
        b"HTTP/1.1 999999999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
        b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none_is_a_reason(answer: bytes) -> None:
    async with receiver(answer) as (url, _):
        reason = await post(url)
    assert reason
    assert len(reason) < 400


@pytest.mark.parametrize(
    "url", ["http://[", "nonsense", "http://", "http://x:99999999/", "http://\ud800/", "http://a\0/"]
)
async def test_a_url_that_is_none_is_a_reason(url: str) -> None:
    assert await post(url)


async def test_a_receiver_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "TIMEOUT", 0.3)
    async with receiver(*[b"H"] * 100, pause=0.05) as (url, _):
        assert "no answer within" in await post(url)


# -- the outbox ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


async def outbox(ledger: Ledger, *urls: str) -> None:
    """A message for each URL, in this order."""
    for number, url in enumerate(urls):
        event = StorageEvent("minio.default", "bucket", f"key{number}", "r", 1)
        await ledger.record(Recording(event, ("svc",), EventOutcome.MATCHED))
        name = run_id("svc", event)
        await asyncio.to_thread(ledger.begin, [(name, f"svc-{name}-1")], [], 1.0)
        completion = Completion(f"svc-{name}-1", AttemptState.SUCCEEDED, 0)
        await asyncio.to_thread(
            ledger.finish, completion.job, completion, RunTransition(RunState.SUCCEEDED, callback=url)
        )


@asynccontextmanager
async def sending(ledger: Ledger) -> AsyncIterator[Callbacks]:
    sender = Callbacks(ledger, SimpleNamespace(token_of=lambda service: "token"), LOOPBACK)  # type: ignore[arg-type]
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await sender.close()


async def test_a_receiver_that_hangs_delays_no_other_however_much_is_due_to_it(ledger: Ledger) -> None:
    async with receiver(b"", pause=60.0) as (slow, slow_sent), receiver(OK) as (quick, quick_sent):
        waiting = [f"{slow}/{number}" for number in range(3 * callbacks._BATCH)]
        await outbox(ledger, *waiting, quick, quick)
        async with sending(ledger):
            await eventually_here(lambda: len(quick_sent) == 2)
            assert len(slow_sent) <= callbacks._EACH


async def test_a_message_that_fails_unexpectedly_concerns_no_other(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver(OK) as (url, sent):
        await outbox(ledger, url.replace("/hook", "/bad"), url)
        async with sending(ledger) as sender:
            monkeypatch.setattr(sender, "_message", failing_once(sender._message))
            await eventually_here(lambda: len(sent) == 1)


def failing_once(message: Callable) -> Callable:
    failures = [KeyError("unforeseen")]

    def made(run: object) -> bytes:
        if failures:
            raise failures.pop()
        return message(replace(run))

    return made


async def test_what_was_delivered_is_not_sent_again(ledger: Ledger) -> None:
    async with receiver(OK) as (url, sent):
        await outbox(ledger, url)
        async with sending(ledger) as sender:
            await eventually_here(lambda: sent and not sender._sending)
            assert ledger.callbacks_due(1e10, 10) == []
