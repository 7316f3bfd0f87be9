# SPDX-License-Identifier: Apache-2.0
"""Limits on what a client may send and how slowly it may send or read, so that one client cannot harm others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oscar_fedcloud.server.body import too_large
from oscar_fedcloud.server.guarded_http import GuardedProtocol, IdleConnections
from oscar_fedcloud.server.problems import ApiError, refuse

log = structlog.get_logger(__name__)

_HEALTH = ("/health", "/livez", "/readyz")
_CLOSE = {"Connection": "close"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes, times are seconds, rates are bytes per second.

    Attributes:
        max_body: of an object or a job.
        max_document: of JSON, which is held in memory.
        max_pending: of all bodies held at the same time. One identity may have half of that, or one body of any size.
        patience: how long a request waits until others free space.
        idle: longest silence of a client within a request, in either direction.
        grace: with ``min_rate``: a body must be complete after ``grace + size / min_rate``.
        min_rate: see ``grace``.
        max_big_bodies: bodies of more than ``big_body`` that are in memory at the same time.
    """

    max_body: int = 512 * 1024 * 1024
    max_document: int = 32 * 1024 * 1024
    max_pending: int = 1024 * 1024 * 1024
    patience: float = 15.0
    max_headers: int = 100
    max_header_bytes: int = 32 * 1024
    idle: float = 30.0
    grace: float = 60.0
    min_rate: float = 1024.0
    keep_alive: int = 75  # stores keep their connection for the next event
    max_connections: int = 1024
    big_body: int = 8 * 1024 * 1024
    max_big_bodies: int = 2


def server_options(limits: Limits, reserved: Iterable[str] = ()) -> dict[str, Any]:
    """Return the ``uvicorn.Config`` options for limits that only the server can enforce.

    Args:
        reserved: paths served regardless of the number of connections, in addition to those of health checks.
    """
    options = {
        "max_head": limits.max_header_bytes,
        "patience": limits.idle,
        "reserved": frozenset(path.encode() for path in (*_HEALTH, *reserved)),
        "idle": IdleConnections(),
    }
    return {
        "http": type("ConfiguredProtocol", (GuardedProtocol,), options),
        "ws": "none",
        "limit_concurrency": limits.max_connections,
        "timeout_keep_alive": limits.keep_alive,
        "server_header": False,
    }


class LimitsMiddleware:
    """Refuses oversized requests before reading them, and aborts requests of clients that send or read too slowly."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within the limits."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if refusal := _refusal(scope, self.limits):
            await refuse(scope, refusal)(scope, receive, send)
            return
        client = _Client(receive, send, self.limits)
        try:
            await self.app(scope, client.receive, client.send)
        except Exception:
            if not client.too_slow:
                raise
            log.info("a client read its response too slowly", method=scope["method"], path=scope["path"])


def _refusal(scope: Scope, limits: Limits) -> ApiError | None:
    """Return why a request is refused because of its headers, or None."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > limits.max_headers:
        detail = f"the request has {len(headers)} headers, {limits.max_headers} are allowed"
        return ApiError(431, detail, headers=_CLOSE)
    size = sum(len(name) + len(value) for name, value in headers)
    if size > limits.max_header_bytes:
        return ApiError(431, f"the headers are larger than {limits.max_header_bytes} bytes", headers=_CLOSE)
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > limits.max_body:
            return too_large(limits.max_body)
    return None


class _Client:
    """Both directions of one request, with limits."""

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._began = time.monotonic()
        self._received = 0
        self._complete = False
        self.too_slow = False

    async def receive(self) -> Message:
        """Return the next part of the body. Raises ApiError 408 if it does not arrive in time."""
        if self._complete:  # all that can follow is a disconnect
            return await self._receive()
        deadline = self._began + self._limits.grace + self._received / self._limits.min_rate
        try:
            async with asyncio.timeout(min(self._limits.idle, deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            detail = f"the body stopped or came too slowly after {self._received} bytes"
            raise ApiError(408, detail, headers=_CLOSE) from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response. Raises TimeoutError if the client does not read."""
        try:
            async with asyncio.timeout(self._limits.idle):
                await self._send(message)
        except TimeoutError:
            self.too_slow = True
            raise
