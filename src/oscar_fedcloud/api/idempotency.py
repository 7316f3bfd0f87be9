# SPDX-License-Identifier: Apache-2.0
"""Idempotency-Key: the same request sent again is answered again, not carried out again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from oscar_fedcloud.api.errors import ApiError

MAX_KEY = 255  # characters


@dataclass(frozen=True, slots=True)
class _Reply:
    digest: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Replies:
    """Recent successful answers by identity, route and key, in memory and bounded; the oldest are forgotten first.

    Jobs do not depend on it: their ids follow from the key, so the same key gives the same job after a restart too.
    """

    def __init__(self, max_entries: int = 1024, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, ...], _Reply] = OrderedDict()
        self._under_way: dict[tuple[str, ...], str] = {}

    async def once(self, key: tuple[str, ...], digest: str, make: Callable[[], Awaitable[Response]]) -> Response:
        """The answer kept for this key, else the one that ``make`` gives. ``digest`` is that of the request's body.

        Raises ApiError 422 when the key was used for another body and 409 while its first request is under way.
        """
        if reply := self._kept.get(key):
            _check(reply.digest, digest)
            return _replay(reply)
        if (first := self._under_way.get(key)) is not None:
            _check(first, digest)
            raise ApiError(409, "the first request with this Idempotency-Key is still being carried out")
        self._under_way[key] = digest
        try:
            response = await make()
        finally:
            del self._under_way[key]
        if response.status_code < 300:
            self._keep(key, _Reply(digest, response.status_code, response.raw_headers, bytes(response.body)))
        return response

    def _keep(self, key: tuple[str, ...], reply: _Reply) -> None:
        self._kept[key] = reply
        self._bytes += len(reply.body)
        while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.body)


def _check(first: str, digest: str) -> None:
    if first != digest:
        raise ApiError(422, "this Idempotency-Key was used for a request with another body")


def _replay(reply: _Reply) -> Response:
    response = Response(reply.body, reply.status)
    response.raw_headers = [*reply.headers, (b"idempotency-replayed", b"true")]
    return response
