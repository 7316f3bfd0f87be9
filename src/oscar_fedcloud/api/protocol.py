# SPDX-License-Identifier: Apache-2.0
"""uvicorn's HTTP protocol with the two bounds it lacks: the size of what is not yet a request, and the time for it."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 25\r\nconnection: close\r\n\r\n"
    b"the headers are too large"
)


class GuardedProtocol(HttpToolsProtocol):
    """Cuts connections whose headers grow without end, never come, or that linger after they were closed.

    max_head: bytes that the parser may hold without giving anything. patience: seconds between two looks at a
    connection; one that stood still between two looks is cut.
    """

    max_head: int
    patience: float
    _held = 0
    _requests = 0
    _seen: tuple[int, bool] | None = None
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Cut the connection if nothing happened since the last look although the client had to act."""
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
        """Parse, and count what the parser keeps to itself; the callbacks below set the count back."""
        self._held += len(data)
        super().data_received(data)
        if self._held > self.max_head and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """A request begins."""
        self._held = 0
        self._requests += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self._held = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ended."""
        self._held = 0
        super().on_message_complete()
