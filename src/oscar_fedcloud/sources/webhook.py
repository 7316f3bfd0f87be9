# SPDX-License-Identifier: Apache-2.0
"""The endpoint that MinIO's webhook targets post events to: the hottest path of the daemon, hence without a framework.

An event is acknowledged (200) only when it is committed. 503 makes the target with a queue (``durable``) send it again;
the target without one (``fast``) forgets it, which is harmless, as the other has it too. A body that cannot be
understood is kept as a dead letter and acknowledged: any other answer would block the queue for ever.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping, Sequence
from typing import Any, Literal, Protocol

import structlog

from oscar_fedcloud.domain.events import BadEvent, StorageEvent, Via
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.storage.ports import Provider

log = structlog.get_logger(__name__)

BODY_LIMIT = 1024 * 1024
_REASON_LIMIT = 1000  # characters
# s until the answer. The sender of both targets is the same: a fast target that hangs would hold up the durable one.
PATIENCE = {Via.FAST: 0.25, Via.DURABLE: 30.0}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Tell = Callable[[int], None]  # takes the HTTP status


class DeadLetters(Protocol):
    """Where bodies go that cannot be understood."""

    async def record_dead_letter(self, source: str, body: bytes, reason: str) -> None:
        """Returns when it is durable."""


class Intake(Protocol):
    """Where events go."""

    @property
    def ledger(self) -> DeadLetters:
        """Keeps dead letters."""

    def ingest(self, events: list[StorageEvent]) -> Awaitable[Any]:
        """Done when all are durable. Raises LedgerUnavailable."""


class Webhook:
    """ASGI application for one webhook target of one provider. ``tokens``: all that are valid now."""

    def __init__(
        self, provider: Provider, way: Literal["fast", "durable"], tokens: Iterable[str], intake: Intake
    ) -> None:
        self.provider = provider
        self.via = Via(way)
        self.intake = intake
        self.patience = PATIENCE[self.via]
        self._accepted = [f"Bearer {token}".encode() for token in tokens]
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as an ASGI application."""
        if not self._accepts(_authorization(scope)):
            status = 401
        elif scope["method"] != "POST":
            status = 200  # somebody with a token looks whether we are there
        else:
            answered = asyncio.get_running_loop().create_future()
            self._take(*await _body(receive), answered.set_result)
            status = await answered
        await send(_STARTS[status])
        await send(_END)

    def answer(self, authorization: bytes, body: bytes, tell: Tell) -> None:
        """``tell`` the status for a POST, once what its body says is durable. For callers on the event loop."""
        if self._accepts(authorization):
            self._take(body, True, tell)
        else:
            tell(401)

    def _accepts(self, authorization: bytes) -> bool:
        # All tokens are compared, each in constant time: the answer's time tells nothing.
        return sum(hmac.compare_digest(authorization, token) for token in self._accepted) > 0

    def _take(self, body: bytes, complete: bool, tell: Tell) -> None:
        try:
            if not complete:
                raise BadEvent(f"the body is larger than {BODY_LIMIT} bytes; its beginning is kept")
            events = self.provider.parse(body, self.via) if body else []
        except BadEvent as error:
            self._begin(self._bury(body, str(error), error.events), tell)
            return
        except Exception as error:  # a body that no parser foresaw is a bad one, too
            report(log, "event could not be parsed", error, provider=self.provider.id)
            self._begin(self._bury(body, f"could not be parsed: {error!r}"), tell)
            return
        if events:
            self._commit(events, body, tell)
        else:
            tell(200)

    def _commit(self, events: list[StorageEvent], body: bytes, tell: Tell) -> None:
        try:
            commit = asyncio.ensure_future(self.intake.ingest(events))
        except Exception as error:  # whatever is wrong with this event, the next ones must come through
            self._begin(self._failed(error, body), tell)
            return

        def ended(commit: asyncio.Future[Any]) -> None:
            timer.cancel()
            if commit.cancelled():
                tell(503)
            elif failure := commit.exception():
                self._begin(self._failed(failure, body), tell)
            else:
                tell(200)

        def give_up() -> None:
            commit.remove_done_callback(ended)
            commit.add_done_callback(_forget)
            tell(503)

        timer = commit.get_loop().call_later(self.patience, give_up)
        commit.add_done_callback(ended)

    def _begin(self, slow: Coroutine[Any, Any, int], tell: Tell) -> None:
        """What needs more than the commit of an event: done in a task, which tells its result."""

        async def work() -> None:
            status = 503
            try:
                status = await slow
            except Exception as error:
                report(log, "event not answered as it should be", error, provider=self.provider.id)
            finally:
                tell(status)

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _failed(self, error: BaseException, body: bytes) -> int:
        if isinstance(error, LedgerUnavailable) or self.via is Via.FAST:
            log.warning("event not committed", provider=self.provider.id, via=self.via, error=str(error))
            return 503
        report(log, "event could not be handled", error, provider=self.provider.id)
        return await self._bury(body, f"could not be handled: {error!r}")

    async def _bury(self, body: bytes, reason: str, events: Sequence[StorageEvent] = ()) -> int:
        """Keep a body as a dead letter, and record the events that could be read of it nevertheless."""
        reason = reason[:_REASON_LIMIT]
        log.warning("dead letter", provider=self.provider.id, via=self.via, reason=reason)
        try:
            if events:
                await self.intake.ingest(list(events))
            await self.intake.ledger.record_dead_letter(f"{self.provider.id}/{self.via}", body, reason)
        except LedgerUnavailable as error:
            log.warning("dead letter not committed", provider=self.provider.id, error=str(error))
            return 503
        return 200


def _authorization(scope: MutableMapping[str, Any]) -> bytes:
    given: bytes = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            given = value
    return given


async def _body(receive: Receive) -> tuple[bytes, bool]:
    """The request's body up to the limit, and whether that is all of it. The rest is read and dropped."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        chunks, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            if size <= BODY_LIMIT:
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
        body = b"".join(chunks)
    return body[:BODY_LIMIT], len(body) <= BODY_LIMIT


def _forget(task: asyncio.Future[Any]) -> None:
    """Take note of the end of a commit that nobody waits for any more; the event comes again if it failed."""
    if not task.cancelled() and (error := task.exception()):
        log.warning("late event not committed", error=str(error))


def _start(status: int, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *headers]}


_STARTS = {
    200: _start(200),
    401: _start(401, (b"www-authenticate", b"Bearer")),
    503: _start(503, (b"retry-after", b"1")),
}
_END: Message = {"type": "http.response.body", "body": b""}
