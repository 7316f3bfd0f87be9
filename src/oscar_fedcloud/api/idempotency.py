# SPDX-License-Identifier: Apache-2.0
"""Idempotency-Key: a repeated request gets the same response and is not executed again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from oscar_fedcloud.api.errors import as_api_error
from oscar_fedcloud.ledger import Claim, Ledger
from oscar_fedcloud.server.problems import ApiError

MAX_KEY = 255  # characters


@dataclass(frozen=True, slots=True)
class _Reply:
    digest: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Replies:
    """Recent successful responses by key, in memory and bounded; the oldest are dropped first.

    Jobs do not depend on it: the ledger stores the request of each key, and a job's id follows from the key, so that
    the same request gives the same job after a restart too.
    """

    def __init__(self, max_entries: int = 1024, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, ...], _Reply] = OrderedDict()
        self._under_way: dict[tuple[str, ...], str] = {}

    async def once(self, key: tuple[str, ...], digest: str, make: Callable[[], Awaitable[Response]]) -> Response:
        """Return the response stored for this key, else that of ``make``. ``digest`` is that of the whole request.

        Raises ApiError 422 if the key was used for another request, and 409 while its first request is in progress.
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


async def claimed(ledger: Ledger, key: str, digest: str, make: Callable[[], Awaitable[Response]]) -> Response:
    """Return the response of ``make``, and assign the key to this request unless it is refused.

    Raises ApiError 422 if the key belongs to another request, by whomever and however long ago.
    """
    claim = await asyncio.to_thread(ledger.claim, key, digest)
    if claim is Claim.OTHER:
        raise another_request()
    try:
        response = await make()
    except Exception as error:
        if claim is Claim.NEW and as_api_error(error).status < 500:
            await asyncio.to_thread(ledger.release, key, digest)
        raise
    return response


def another_request() -> ApiError:
    """Return the error for a key that belongs to another request."""
    detail = "this Idempotency-Key was used for another request: with another body, path or identity"
    return ApiError(422, detail)


def _check(first: str, digest: str) -> None:
    if first != digest:
        raise another_request()


def _replay(reply: _Reply) -> Response:
    response = Response(reply.body, reply.status)
    response.raw_headers = [*reply.headers, (b"idempotency-replayed", b"true")]
    return response
