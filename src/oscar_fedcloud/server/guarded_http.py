# SPDX-License-Identifier: Apache-2.0
"""uvicorn's HTTP protocol with additional limits: on incomplete requests and on idle connections."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 25\r\nconnection: close\r\n\r\n"
    b"the headers are too large"
)


class IdleConnections:
    """The connections of a server without a request in progress, longest idle first.

    When there are too many connections, an idle one is closed: preferably one that never sent a request, rather than
    one that a client keeps open for its next request.
    """

    def __init__(self) -> None:
        self._fresh: dict[GuardedProtocol, None] = {}
        self._served: dict[GuardedProtocol, None] = {}

    def add(self, connection: GuardedProtocol, served: bool = False) -> None:
        """Add a connection that became idle."""
        (self._served if served else self._fresh)[connection] = None

    def discard(self, connection: GuardedProtocol) -> None:
        """Remove a connection that is busy or closed."""
        self._fresh.pop(connection, None)
        self._served.pop(connection, None)

    def close_oldest(self) -> None:
        """Close the connection that has been idle the longest, but not the newest one."""
        found = self._fresh if len(self._fresh) > 1 else self._served
        if oldest := next(iter(found), None):
            self.discard(oldest)
            oldest.transport.abort()


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections whose headers grow without end or never arrive, and those that linger after closing.

    Attributes:
        max_head: bytes that the parser may hold without a result.
        patience: seconds between two checks of a connection; a connection without progress between them is closed.
    """

    max_head: int
    patience: float
    reserved: frozenset[bytes] = frozenset()  # paths that are served regardless of the number of connections
    idle: IdleConnections
    _held = 0
    _requests = 0
    _seen: tuple[int, bool] | None = None
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to monitor the connection."""
        super().connection_made(transport)
        self.idle.add(self)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self.idle.close_oldest()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to monitor the connection."""
        if self._watch is not None:
            self._watch.cancel()
        self.idle.discard(self)
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if the client made no progress since the last check although it had to send."""
        closing = self.transport.is_closing()
        if self._seen == (self._requests, closing) and (closing or self._waits_for_head()):
            self.transport.abort()
            return
        self._seen = (self._requests, closing)
        self._watch = self.loop.call_later(self.patience, self._look)

    def _waits_for_head(self) -> bool:
        between_requests = self.cycle is None or self.cycle.response_complete
        return between_requests and self.timeout_keep_alive_task is None

    def data_received(self, data: bytes) -> None:
        """Parse, and count the bytes held by the parser; the callbacks below reset the count."""
        self._held += len(data)
        super().data_received(data)
        if self._held > self.max_head and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Handle the start of a request."""
        self._held = 0
        self._requests += 1
        self.idle.discard(self)
        if self.url.partition(b"?")[0] in self.reserved:
            self.limit_concurrency, limit = None, self.limit_concurrency
            super().on_headers_complete()
            self.limit_concurrency = limit
        else:
            super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Handle a completed response."""
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:
            self.idle.add(self, served=True)

    def on_body(self, body: bytes) -> None:
        """Handle a part of a body."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Handle the end of a request."""
        self._held = 0
        super().on_message_complete()
