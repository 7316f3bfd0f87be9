# SPDX-License-Identifier: Apache-2.0
"""Request bodies of any size: in memory if small, else in an unnamed temporary file."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from oscar_fedcloud.server.budget import BodyReservation
from oscar_fedcloud.server.problems import ApiError

_STEP = 256 * 1024  # bytes reserved at a time if the size of a body is not known
IN_MEMORY = 1024 * 1024  # bytes


class Body:
    """A complete body with its size in bytes and its SHA-256 digest."""

    def __init__(self, file: BinaryIO, size: int, digest: str) -> None:
        self.file = file
        self.size = size
        self.digest = digest

    async def content(self) -> bytes:
        """Return the whole body."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        self.file.seek(0)
        return self.file.read()


async def read_body(
    stream: AsyncIterator[bytes], limit: int, folder: Path, room: BodyReservation | None = None
) -> Body:
    """Read a request's body; temporary files are created in ``folder``. Raises ApiError 413 beyond ``limit`` bytes.

    Args:
        room: the reservation for its bytes. Raises ApiError 429 or 503 if there is no space, after reading the body: a
            client that is still sending would not see the response.
    """
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(folder))  # noqa: SIM115  the body owns it
    digest = hashlib.sha256()
    size = 0
    try:
        async for chunk in stream:
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            if room is not None and size > room.held:
                await room.take(min(max(size - room.held, _STEP), limit - room.held))
            digest.update(chunk)
            if size <= IN_MEMORY:
                file.write(chunk)
            else:
                await asyncio.to_thread(file.write, chunk)
    except BaseException as error:
        with suppress(OSError):  # a full disk also refuses the buffered data
            file.close()
        if isinstance(error, OSError):
            error.filename = error.filename or str(folder)  # a temporary file has no name of its own
        if isinstance(error, ApiError) and error.status in (429, 503):
            await discard(stream, limit)
        raise
    await asyncio.to_thread(file.seek, 0)
    return Body(cast(BinaryIO, file), size, digest.hexdigest())


async def discard(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read and discard the rest of a body, at most ``limit`` bytes."""
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            return


def too_large(limit: int) -> ApiError:
    """Return 413. The connection is closed, since the rest of the body is not read."""
    return ApiError(413, f"the body is larger than the {limit} bytes allowed here", headers={"Connection": "close"})
