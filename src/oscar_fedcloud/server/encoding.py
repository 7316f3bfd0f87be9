# SPDX-License-Identifier: Apache-2.0
"""Encodes compact JSON, also for object keys whose bytes are not UTF-8."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from starlette.responses import Response


def encode(value: Any) -> bytes:
    """Return JSON without spaces, fields in their order.

    A byte of a key that is not UTF-8 is written as ``\\udcXX``.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode("ascii")


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encode(value), status, headers, "application/json")


async def begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first chunk and return all chunks, so that unreadable data fails here."""
    first = await anext(chunks, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return whole()
