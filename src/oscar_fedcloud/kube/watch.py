# SPDX-License-Identifier: Apache-2.0
"""List and then watch a collection, so that a reader can keep an up-to-date copy.

A watch that ends is resumed. Only if the server cannot resume it (410 Gone), the collection is listed again, and the
reader gets a new ``ListSnapshot``: objects that are not in it have been deleted meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import aiohttp
import msgspec
import structlog

from oscar_fedcloud.kube.client import KubeClient
from oscar_fedcloud.kube.errors import ApiStatus, KubeError, error_of
from oscar_fedcloud.kube.resource import ResourceType
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words

log = structlog.get_logger(__name__)

T = TypeVar("T")
_LENGTH = 290  # s that one request of a watch lasts
_SILENCE = 150.0  # s without data, not even a bookmark (one per minute), after which the connection counts as dead
_PAUSE, _PAUSE_MAX = 0.2, 5.0  # s between tries while the server does not answer
_BRIEF = 5.0  # s; a shorter request is followed by a pause even without an error
_QUIET, _AT_ONCE = 4, 3  # after _QUIET * gather s without data, _AT_ONCE reads have no pause


@dataclass(frozen=True, slots=True)
class ListSnapshot(Generic[T]):
    """All current objects."""

    items: list[T]


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """A change of an object. A deleted object is given in its last state."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: T


class _Metadata(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion", default="")


class _Versioned(msgspec.Struct):
    metadata: _Metadata


class _Bookmark(msgspec.Struct):
    object: _Versioned


class _Error(msgspec.Struct):
    object: ApiStatus


async def watch(
    client: KubeClient,
    resource: ResourceType,
    kind: type[T],
    labels: str = "",
    fields: str = "",
    *,
    on_trouble: Callable[[str], None] | None = None,
    gather: float = 0.0,
    lenient: bool = False,
) -> AsyncIterator[ListSnapshot[T] | WatchEvent[T]]:
    """Yield a ListSnapshot, then each WatchEvent, and another ListSnapshot if changes were missed.

    Never ends and never raises KubeError.

    Args:
        kind: type of the decoded objects: ``dict``, or a ``msgspec.Struct`` with the needed fields (much faster)
        on_trouble: called with the problem when the watch is interrupted, and with "" when it continues
        gather: seconds to pause reading after data has arrived, so that many changes cause fewer wake-ups; changes
            after a quiet time are yielded immediately
        lenient: leave out objects that cannot be decoded, for readers that do not need all of them; otherwise such an
            object interrupts the watch, and the collection is listed again and again
    """
    tell = on_trouble or _say_nothing
    version, pause = "", 0.0
    while True:
        try:
            if not version:
                items, version = await client.list_versioned(resource, kind, labels, fields, lenient=lenient)
                yield ListSnapshot(items)
            tell("")
            query = {"labelSelector": labels, "fieldSelector": fields, "resourceVersion": version}
            begun = time.monotonic()
            async for change, version in _changes(client, resource, kind, query, gather, lenient):  # noqa: B007  for the next request
                if change is not None:
                    yield change
            if time.monotonic() - begun >= _BRIEF:
                pause = 0.0
                continue
        except KubeError as error:
            if error.status in (410, 504):  # too old for the server, or newer than its data after a restore
                version = ""
            log.warning("watch interrupted, it will be tried again", what=resource.plural, error=str(error))
            tell(str(error))
        except Exception as error:  # malformed answer: the known state may be wrong
            version = ""
            report(log, "watch failed, everything is listed again", error, what=resource.plural)
            tell(in_words(error))
        pause = min(_PAUSE_MAX, max(_PAUSE, pause * 2))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  no secret


def _say_nothing(trouble: str) -> None:
    """Ignore the problem."""


async def _changes(
    client: KubeClient, resource: ResourceType, kind: type[T], query: dict[str, str], gather: float, lenient: bool
) -> AsyncIterator[tuple[WatchEvent[T] | None, str]]:
    """Yield the changes of one request with their resource versions. None is a bookmark."""
    event = msgspec.defstruct("Event", [("type", str), ("object", kind)])
    changes, versions = msgspec.json.Decoder(event), msgspec.json.Decoder(_Bookmark)
    query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_LENGTH)}
    async with client.stream(resource.path(), query, _SILENCE) as answer:
        async for line in _lines(answer, gather):
            if line.startswith(b'{"type":"ERROR"'):
                status = msgspec.json.decode(line, type=_Error).object
                raise error_of("GET", resource.path(), status.code, msgspec.json.encode(status))
            version = versions.decode(line).object.metadata.version
            if line.startswith(b'{"type":"BOOKMARK"'):
                yield None, version
            else:
                try:
                    change = changes.decode(line)
                except msgspec.ValidationError as error:
                    if not lenient:
                        raise
                    log.warning("an object cannot be read and is left out", what=resource.plural, error=str(error))
                    yield None, version
                else:
                    yield WatchEvent(change.type, change.object), version  # type: ignore[attr-defined]


async def _lines(answer: aiohttp.ClientResponse, gather: float) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, of any length."""
    rest, last, at_once = b"", 0.0, 0
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        last, before = time.monotonic(), last
        at_once = _AT_ONCE if last - before > _QUIET * gather else at_once - 1
        if gather and at_once <= 0 and answer.connection and (transport := answer.connection.transport):
            transport.pause_reading()
            await asyncio.sleep(gather)
            transport.resume_reading()
