# SPDX-License-Identifier: Apache-2.0
"""The short way of a store's event through the HTTP server.

A store posts each event as one small plain request. When such a request lies whole in what the socket gave, it is
handed to its hook at once, and the answer is written without an ASGI cycle and without a task, which would cost more
than to store the event. Whatever is less plain takes the general way, to the same hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, Protocol

from oscar_fedcloud.server.guarded_http import GuardedProtocol

_PLAIN = frozenset({b"host", b"user-agent", b"content-type", b"accept", b"accept-encoding"})
_MORE = {401: b"www-authenticate: Bearer\r\n", 503: b"retry-after: 1\r\n"}


class Hook(Protocol):
    """Takes the body of a POST."""

    def answer(self, authorization: bytes, body: bytes, tell: Callable[[int], None]) -> None:
        """Call ``tell`` once, now or later on the event loop, with the HTTP status."""


class Event(NamedTuple):
    """A plain request."""

    hook: Hook
    authorization: bytes
    body: bytes


def plain_event(data: bytes, hooks: Mapping[bytes, Hook], max_head: int) -> Event | None:
    """The request that ``data`` holds, if it is a POST to a hook (by path), whole, alone, and without surprises."""
    head, end, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    method, _, rest = lines[0].partition(b" ")
    path, _, version = rest.partition(b" ")
    hook = hooks.get(path)
    if hook is None or not end or method != b"POST" or version != b"HTTP/1.1" or len(head) > max_head:
        return None
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        return None
    special: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name in (b"authorization", b"content-length") and name not in special:
            special[name] = value.strip(b" \t")
        elif name not in _PLAIN:
            return None
    if special.get(b"content-length") != b"%d" % len(body):
        return None
    return Event(hook, special.get(b"authorization", b""), body)


class HotProtocol(GuardedProtocol):
    """Takes plain events the short way, everything else as its base class does."""

    hooks: Mapping[bytes, Hook]
    _between = True  # no request has begun, as far as the parser knows
    _waiting = False  # for the answer to an event
    _ending = False  # the server stops: close after that answer
    _early = b""  # what came in the meantime

    def data_received(self, data: bytes) -> None:
        """Take a plain event, or parse."""
        if self._waiting:
            self._early += data
            if len(self._early) > self.max_head:
                self.transport.abort()
        elif event := self._plain_event(data):
            self._requests += 1
            self._waiting = True
            self.idle.discard(self)
            self._unset_keepalive_if_required()
            event.hook.answer(event.authorization, event.body, self._tell)
        else:
            super().data_received(data)

    def _plain_event(self, data: bytes) -> Event | None:
        free = self._between and not self._held and (self.cycle is None or self.cycle.response_complete)
        return plain_event(data, self.hooks, self.max_head) if free else None

    def _tell(self, status: int) -> None:
        self._waiting = False
        if self.transport.is_closing():
            return
        self.transport.write(self._answer(status))
        if self._ending:
            self.transport.close()
            return
        self.on_response_complete()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _answer(self, status: int) -> bytes:
        headers = b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)
        phrase = HTTPStatus(status).phrase.encode()
        return b"HTTP/1.1 %d %b\r\n%b%bcontent-length: 0\r\n\r\n" % (status, phrase, headers, _MORE.get(status, b""))

    def _waits_for_head(self) -> bool:
        return not self._waiting and super()._waits_for_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """A request ended."""
        self._between = True
        super().on_message_complete()

    def shutdown(self) -> None:
        """The server stops: no more requests on this connection."""
        if self._waiting:
            self._ending = True
        else:
            super().shutdown()
