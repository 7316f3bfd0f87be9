# SPDX-License-Identifier: Apache-2.0
"""The endpoint for MinIO's webhook targets. It is the hottest path of the daemon, hence without a framework.

An event is acknowledged (200) only when it is committed. After 503, the target with a queue (``durable``) sends it
again; the target without one (``fast``) drops it, which is harmless, since the other target has it too. A body that is
not valid is stored as a dead letter and acknowledged: any other response would block the queue forever.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Literal

import structlog

from oscar_fedcloud.catalogue.intake import EventIntake
from oscar_fedcloud.domain.events import BadEvent, Origin, StorageEvent
from oscar_fedcloud.ledger import LedgerUnavailable
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.storage.ports import ObjectStore

log = structlog.get_logger(__name__)

BODY_LIMIT = 1024 * 1024
_REASON_LIMIT = 1000  # characters
# s until the response. Both targets share a sender: a fast target that hangs would delay the durable one.
PATIENCE = {Origin.FAST: 0.25, Origin.DURABLE: 30.0}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Webhook:
    """ASGI application for one webhook target of one provider. ``tokens`` are all valid tokens."""

    def __init__(
        self, provider: ObjectStore, target: Literal["fast", "durable"], tokens: Iterable[str], intake: EventIntake
    ) -> None:
        self.provider = provider
        self.via = Origin(target)
        self.intake = intake
        self.patience = PATIENCE[self.via]
        self._accepted = [f"Bearer {token}".encode() for token in tokens]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as an ASGI application."""
        if not self._accepts(_authorization(scope)):
            status = 401
        elif scope["method"] != "POST":
            status = 200  # the sender checks whether the endpoint exists
        else:
            status = await self.handle(*await _body(receive))
        await send(_STARTS[status])
        await send(_END)

    def _accepts(self, authorization: bytes) -> bool:
        # All tokens are compared, each in constant time, so that the response time reveals nothing.
        return sum(hmac.compare_digest(authorization, token) for token in self._accepted) > 0

    async def handle(self, body: bytes, complete: bool = True) -> int:
        """Record the events of a body, and return the HTTP status once they are on disk."""
        try:
            events = self._parse(body, complete)
        except BadEvent as error:
            return await self._dead_letter(body, str(error), error.events)
        try:
            return await self._record(events) if events else 200
        except LedgerUnavailable as error:
            log.warning("event not committed", provider=self.provider.id, via=self.via, error=str(error))
            return 503
        except Exception as error:  # an event that fails must not block those after it
            report(log, "event could not be handled", error, provider=self.provider.id)
            if self.via is Origin.FAST:
                return 503  # the durable target has it too
            return await self._dead_letter(body, f"could not be handled: {error!r}")

    def _parse(self, body: bytes, complete: bool) -> list[StorageEvent]:
        if not complete:
            raise BadEvent(f"the body is larger than {BODY_LIMIT} bytes; its beginning is kept")
        try:
            return self.provider.parse(body, self.via) if body else []
        except BadEvent:
            raise
        except Exception as error:  # an unexpected failure of the parser counts as a bad event
            report(log, "event could not be parsed", error, provider=self.provider.id)
            raise BadEvent(f"could not be parsed: {error!r}") from error

    async def _record(self, events: list[StorageEvent]) -> int:
        """Commit the events. A commit that takes too long continues in the background while the event is sent again."""
        commit = asyncio.ensure_future(self.intake.record(events))
        done, _ = await asyncio.wait([commit], timeout=self.patience)
        if not done:
            commit.add_done_callback(_log_failure)
            return 503
        if commit.cancelled():
            return 503
        commit.result()
        return 200

    async def _dead_letter(self, body: bytes, reason: str, events: Sequence[StorageEvent] = ()) -> int:
        """Store a body as a dead letter, and record the events that could be read from it."""
        reason = reason[:_REASON_LIMIT]
        log.warning("dead letter", provider=self.provider.id, via=self.via, reason=reason)
        try:
            if events:
                await self.intake.record(events)
            await self.intake.keep_dead_letter(f"{self.provider.id}/{self.via}", body, reason)
        except LedgerUnavailable as error:
            log.warning("dead letter not committed", provider=self.provider.id, error=str(error))
            return 503
        except Exception as error:
            report(log, "dead letter could not be kept", error, provider=self.provider.id)
            return 503
        return 200


def _authorization(scope: MutableMapping[str, Any]) -> bytes:
    given: bytes = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            given = value
    return given


async def _body(receive: Receive) -> tuple[bytes, bool]:
    """Return the request's body up to the limit, and whether it is complete. The rest is read and dropped."""
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


def _log_failure(commit: asyncio.Future[Any]) -> None:
    """Log the failure of a commit after the response was sent; the event is sent again."""
    if not commit.cancelled() and (error := commit.exception()):
        log.warning("late event not committed", error=str(error))


def _start(status: int, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *headers]}


_STARTS = {
    200: _start(200),
    401: _start(401, (b"www-authenticate", b"Bearer")),
    503: _start(503, (b"retry-after", b"1")),
}
_END: Message = {"type": "http.response.body", "body": b""}
