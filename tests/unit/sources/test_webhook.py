# SPDX-License-Identifier: Apache-2.0
"""The webhook acknowledges what is committed, keeps what is bad, and lets no one in without a token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from parts.waiting import eventually_here

from oscar_fedcloud.domain.events import BadEvent, Origin, StorageEvent
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.sources.webhook import BODY_LIMIT, Webhook

TOKEN, NEXT_TOKEN = "the-token", "the-next-token"
EVENT = StorageEvent("minio.default", "bucket", "key", "revision", 1)


class Store:
    """A provider whose notification bodies are lists of keys, one a line."""

    id = "minio.default"

    def parse(self, body: bytes, via: Origin = Origin.DURABLE) -> list[StorageEvent]:
        if body.startswith(b"bad"):
            raise BadEvent("it is bad", [replace(EVENT, key="good")] if b"partly" in body else ())
        if body.startswith(b"unforeseen"):
            raise RecursionError("x" * 10_000)
        return [replace(EVENT, key=key, via=via) for key in body.decode().split()]


@dataclass
class Intake:
    """Keeps what it is given, unless told to fail or to take its time."""

    error: Exception | None = None
    delay: float = 0.0
    events: list[StorageEvent] = field(default_factory=list)
    letters: list[tuple[str, bytes, str]] = field(default_factory=list)
    letters_fail: bool = False

    async def record(self, events: list[StorageEvent]) -> None:
        await asyncio.sleep(self.delay)
        if self.error:
            raise self.error
        self.events += events

    async def keep_dead_letter(self, source: str, body: bytes, reason: str) -> None:
        if self.letters_fail:
            raise LedgerUnavailable("the disk is full")
        self.letters.append((source, body, reason))


@dataclass
class Answer:
    status: int
    headers: dict[bytes, bytes]


async def post(
    hook: Webhook,
    chunks: Iterable[bytes] = (b"key",),
    token: str | None = TOKEN,
    method: str = "POST",
    scheme: str = "Bearer",
) -> Answer:
    """One request, as an ASGI server hands it on."""
    rest = list(chunks) or [b""]
    sent: list[dict] = []

    async def receive() -> dict:
        chunk = rest.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(rest)}

    async def send(message: dict) -> None:
        sent.append(message)

    headers = [(b"host", b"x"), *([(b"authorization", f"{scheme} {token}".encode())] if token is not None else [])]
    await hook({"type": "http", "method": method, "headers": headers, "path": "/"}, receive, send)
    start, end = sent
    assert end == {"type": "http.response.body", "body": b""}
    return Answer(start["status"], dict(start["headers"]))


def hook(intake: Intake, way: str = "durable", tokens: Iterable[str] = (TOKEN, NEXT_TOKEN)) -> Webhook:
    return Webhook(Store(), way, tokens, intake)


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.mark.parametrize("way", ["fast", "durable"])
async def test_events_are_committed_then_acknowledged(intake: Intake, way: str) -> None:
    answer = await post(hook(intake, way), [b"a ", b"b", b" c"])
    assert answer.status == 200
    assert [event.key for event in intake.events] == ["a", "b", "c"]
    assert {event.via for event in intake.events} == {Origin(way)}


@pytest.mark.parametrize("token", [TOKEN, NEXT_TOKEN])
async def test_two_tokens_are_valid_during_rotation(intake: Intake, token: str) -> None:
    assert (await post(hook(intake), token=token)).status == 200


@pytest.mark.parametrize("token", [None, "", "the-toke", "the-token2", "THE-TOKEN", "\xe9"])
async def test_who_has_no_token_leaves_nothing(intake: Intake, token: str | None) -> None:
    for chunks in ([b"key"], [b"bad"], [b"x" * (BODY_LIMIT + 1)]):
        answer = await post(hook(intake), chunks, token=token)
        assert (answer.status, answer.headers[b"www-authenticate"]) == (401, b"Bearer")
    assert (intake.events, intake.letters) == ([], [])


async def test_another_scheme_is_no_token(intake: Intake) -> None:
    assert (await post(hook(intake), scheme="Basic")).status == 401


async def test_without_tokens_nobody_is_let_in(intake: Intake) -> None:
    for token in ("", TOKEN, None):
        assert (await post(hook(intake, tokens=()), token=token)).status == 401


@pytest.mark.parametrize("way", ["fast", "durable"])
async def test_a_bad_body_is_kept_whole_and_acknowledged(intake: Intake, way: str) -> None:
    assert (await post(hook(intake, way), [b"bad \xff", b"\x00"])).status == 200
    assert intake.letters == [(f"minio.default/{way}", b"bad \xff\x00", "it is bad")]


@pytest.mark.parametrize("sizes", [[BODY_LIMIT + 1], [BODY_LIMIT, 1], [1] + [BODY_LIMIT // 3] * 12])
async def test_the_beginning_of_a_body_that_is_too_large_is_kept(intake: Intake, sizes: list[int]) -> None:
    assert (await post(hook(intake), [b"x" * size for size in sizes])).status == 200
    ((_, body, reason),) = intake.letters
    assert body == b"x" * BODY_LIMIT
    assert "larger" in reason
    assert intake.events == []


async def test_a_body_at_the_limit_is_taken(intake: Intake) -> None:
    assert (await post(hook(intake), [b"k", b"e" * (BODY_LIMIT - 1)])).status == 200
    assert (len(intake.events), intake.letters) == (1, [])


async def test_events_of_other_things_need_no_commit(intake: Intake) -> None:
    intake.error = LedgerUnavailable("away")
    assert (await post(hook(intake), [b"  "])).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_probes_with_a_token_are_answered(intake: Intake, method: str) -> None:
    assert (await post(hook(intake), [], method=method)).status == 200
    assert (intake.events, intake.letters) == ([], [])


@pytest.mark.parametrize("way", ["fast", "durable"])
async def test_what_is_not_committed_is_not_acknowledged(intake: Intake, way: str) -> None:
    intake.error = LedgerUnavailable("the disk is full")
    answer = await post(hook(intake, way))
    assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
    assert intake.letters == []


@pytest.mark.parametrize("way", ["fast", "durable"])
async def test_a_dead_letter_that_cannot_be_kept_is_not_acknowledged(intake: Intake, way: str) -> None:
    intake.letters_fail = True
    assert (await post(hook(intake, way), [b"bad"])).status == 503


async def test_an_event_that_fails_for_ever_does_not_block_the_queue(intake: Intake) -> None:
    intake.error = RuntimeError("a mistake of ours")
    assert (await post(hook(intake, "durable"), [b"key"])).status == 200
    ((source, body, reason),) = intake.letters
    assert (source, body) == ("minio.default/durable", b"key")
    assert "a mistake of ours" in reason
    assert (await post(hook(intake, "fast"), [b"key"])).status == 503
    assert len(intake.letters) == 1


async def test_an_event_that_fails_before_its_commit_does_not_block_the_queue_either(intake: Intake) -> None:
    def fail(events: list[StorageEvent]) -> None:
        raise RuntimeError("a mistake of ours")

    intake.record = fail
    assert (await post(hook(intake, "durable"))).status == 200
    assert len(intake.letters) == 1
    assert (await post(hook(intake, "fast"))).status == 503


@pytest.mark.parametrize("way", ["fast", "durable"])
async def test_a_commit_may_be_a_future(intake: Intake, way: str) -> None:
    def commit(events: list[StorageEvent]) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        intake.events += events
        return future

    intake.record = commit
    assert (await post(hook(intake, way))).status == 200
    assert len(intake.events) == 1


@pytest.mark.parametrize("way", ["fast", "durable"])
async def test_a_slow_commit_is_not_waited_for_but_goes_on(intake: Intake, way: str) -> None:
    intake.delay = 0.05
    app = hook(intake, way)
    app.patience = 0.001
    assert (await post(app)).status == 503
    await eventually_here(lambda: intake.events)


async def test_a_slow_commit_that_fails_troubles_no_one(intake: Intake) -> None:
    intake.delay, intake.error = 0.01, LedgerUnavailable("away")
    app = hook(intake, "fast")
    app.patience = 0.001
    assert (await post(app)).status == 503
    await asyncio.sleep(0.05)  # in which the failure would be reported as one that nobody awaited


async def test_fast_has_far_less_patience_than_durable(intake: Intake) -> None:
    assert hook(intake, "fast").patience <= 0.25
    assert 1 <= hook(intake, "durable").patience <= 30


@pytest.mark.parametrize("way", ["fast", "durable"])
async def test_a_body_that_no_parser_foresaw_is_kept_and_acknowledged(intake: Intake, way: str) -> None:
    assert (await post(hook(intake, way), [b"unforeseen"])).status == 200
    ((source, body, reason),) = intake.letters
    assert (source, body) == (f"minio.default/{way}", b"unforeseen")
    assert reason.startswith("could not be parsed: RecursionError")
    assert len(reason) <= 1000


async def test_what_is_good_of_a_bad_body_is_committed(intake: Intake) -> None:
    assert (await post(hook(intake), [b"bad partly"])).status == 200
    assert [event.key for event in intake.events] == ["good"]
    assert [body for _, body, _ in intake.letters] == [b"bad partly"]


async def test_while_the_good_part_cannot_be_committed_the_body_comes_again() -> None:
    intake = Intake(error=LedgerUnavailable("away"))
    assert (await post(hook(intake), [b"bad partly"])).status == 503
    assert intake.letters == []


async def test_a_request_is_answered_whatever_happens_to_its_dead_letter() -> None:
    intake = Intake()
    intake.keep_dead_letter = None
    assert (await post(hook(intake), [b"bad"])).status == 503
