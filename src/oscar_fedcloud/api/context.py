# SPDX-License-Identifier: Apache-2.0
"""One request as seen by its handler: identity, parameters, body."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from oscar_fedcloud.access.auth import Identity, Resource, Verb, challenge, may
from oscar_fedcloud.api.idempotency import Replies
from oscar_fedcloud.api.readiness import ReadinessCache
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.services import Declared, NotFound
from oscar_fedcloud.fdl import FdlError, Source, decode, read_json
from oscar_fedcloud.fdl_text import read_source
from oscar_fedcloud.server.body import Body, discard, read_body, too_large
from oscar_fedcloud.server.budget import Budget
from oscar_fedcloud.server.limits import Limits
from oscar_fedcloud.server.origin import is_yaml, media_type
from oscar_fedcloud.server.problems import ApiError, invalid
from oscar_fedcloud.server.request_metrics import RequestMetrics

_DIGITS = 18  # digits of a number that fits into 64 bits
_KEYS = ("key", "prefix")  # parameters that contain object keys, and so any bytes


@dataclass(frozen=True)
class Api:
    """The state shared by all requests."""

    invoker: Invoker
    limits: Limits
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    replies: Replies = field(default_factory=Replies)

    @cached_property
    def requests(self) -> RequestMetrics:
        """The metrics of served requests."""
        return RequestMetrics(self.registry)

    @cached_property
    def readiness(self) -> ReadinessCache:
        """The readiness of all parts."""
        return ReadinessCache(self.invoker)

    @cached_property
    def budget(self) -> Budget:
        """The budget for bytes of all bodies that are held at the same time."""
        return Budget(self.limits.max_pending, self.limits.max_body, self.limits.patience)

    @cached_property
    def big_bodies(self) -> asyncio.Semaphore:
        """Held while a big body is in memory."""
        return asyncio.Semaphore(self.limits.max_big_bodies)


class RequestContext:
    """One request."""

    def __init__(self, request: Request, api: Api, identity: Identity) -> None:
        self.request = request
        self.api = api
        self.invoker = api.invoker
        self.identity = identity
        self._body: Body | None = None
        self._room = api.budget.room(f"{identity.kind} {identity.name}")

    def close(self) -> None:
        """Free the space of the body."""
        if self._body is not None:
            self._body.file.close()
        self._room.give_back()

    def param(self, name: str) -> str:
        """Return a parameter of the path, or "" if the route has none of that name.

        Raises NotFound for an invalid name.
        """
        value = str(self.request.path_params.get(name, ""))
        if "\0" in value:
            raise NotFound("there is nothing with a NUL in its name")
        return value

    @cached_property
    def object_key(self) -> str:
        """Return the object key at the end of the path, with bytes that are not UTF-8 as surrogates."""
        raw: bytes = self.request.scope["raw_path"]
        return unquote_to_bytes(raw.split(b"/objects/", 1)[1]).decode("utf-8", "surrogateescape")

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's parameters; the last of equal names counts. In keys, bytes that are not UTF-8 are surrogates."""
        text = self.request.scope["query_string"].decode("latin-1")
        given = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
        return {name: value if name in _KEYS else _printable(value) for name, value in given}

    def header(self, name: str) -> str:
        """Return a request header, or "" if it is absent."""
        return self.request.headers.get(name, "")

    def demand(self, verb: Verb, resource: Resource) -> None:
        """Raise ApiError 401 or 403 unless the identity is allowed to do this."""
        if may(self.identity, verb, resource):
            return
        if self.identity.kind == "nobody":
            headers = {"WWW-Authenticate": challenge(self.request.headers)}
            raise ApiError(401, "valid credentials are needed for this request", headers=headers)
        what = f"service {resource.name}" if resource.kind == "service" else "this"
        if resource.place is not None:
            what = f"{what} by {'/'.join(resource.place[1:])}, which is not inside its inputs"
        raise ApiError(403, f"this token may not {verb} {what}")

    def declared(self) -> Declared:
        """Return the service named in the path. Raises NotFound."""
        name = self.param("name")
        declared = self.invoker.catalogue.declared(name)
        if declared is None:
            raise NotFound(f"service {name} does not exist")
        return declared

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body."""
        return self.header("content-length") not in ("", "0") or self.header("transfer-encoding") != ""

    async def body(self, limit: int = 0) -> Body:
        """Return the request's body, at most ``limit`` bytes; 0 means the limit of a JSON document."""
        if self._body is None:
            folder = self.invoker.config.data
            most = limit or self.api.limits.max_document
            if (announced := self._announced()) > most:
                raise too_large(most)
            stream = self.request.stream()
            try:
                await self._room.take(announced)
            except ApiError:
                await discard(stream, most)
                raise
            self._body = await read_body(stream, most, folder, self._room)
        return self._body

    def _announced(self) -> int:
        """Return the size of the body according to its header, or 0 if unknown."""
        size = self.header("content-length")
        return int(size) if is_number(size) else 0

    @asynccontextmanager
    async def content(self) -> AsyncIterator[bytes]:
        """Provide the bytes of a body of any allowed size. The number of large bodies in memory is limited."""
        body = await self.body(self.api.limits.max_body)
        if body.size <= self.api.limits.big_body:
            yield await body.content()
            return
        async with self.api.big_bodies:
            yield await body.content()

    async def document(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty object. Raises ApiError 400."""
        content = await (await self.body()).content()
        try:
            value = await asyncio.to_thread(msgspec.json.decode, content) if content.strip() else {}
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ApiError(400, "the body must be a JSON object")
        return value

    async def source(self) -> Source:
        """Return the body with the position of each member and scalars as written: JSON, or YAML by its content type.

        Raises ApiError 400 unless it is an object, FdlError if it contains a duplicate name.
        """
        content = await (await self.body()).content()
        yaml = is_yaml(media_type(self.request.headers))
        try:
            source = await asyncio.to_thread(_source, content if content.strip() else b"{}", yaml)
        except FdlError as error:
            first = error.problems[0]
            if first.path != "document":
                raise
            kind = "YAML" if yaml else "JSON"
            reason = first.message.removeprefix(f"is not {kind}: ")
            raise ApiError(
                400, f"the body is not {kind}: {reason} (line {first.line}, column {first.column})"
            ) from None
        if not isinstance(source.data, dict):
            raise ApiError(400, "the body must be a JSON object")
        return source

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number from the query. Raises ApiError 422."""
        value = self.optional_number(name, least, most)
        return default if value is None else value

    def optional_number(self, name: str, least: int, most: int) -> int | None:
        """Return a whole number from the query, or None. Raises ApiError 422."""
        text = self.query.get(name)
        if text is None:
            return None
        if not is_number(text) or not least <= int(text) <= most:
            raise invalid(f"query.{name}", text, f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Return a boolean from the query, False by default. Raises ApiError 422."""
        text = self.query.get(name, "false").lower()
        if text not in ("true", "false", "1", "0", ""):
            raise invalid(f"query.{name}", text, f"{text!r} is not true or false")
        return text in ("true", "1")

    def time(self, name: str) -> float | None:
        """Return a time from the query, RFC 3339 or seconds since the epoch. Raises ApiError 422."""
        text = self.query.get(name)
        if not text:
            return None
        with suppress(ValueError):
            if math.isfinite(seconds := float(text)):
                return seconds
        try:
            moment = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + of an offset is decoded as a space
        except ValueError:
            raise invalid(f"query.{name}", text, f"{text!r} is not a time", "write 2026-01-31T12:00:00Z") from None
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _source(content: bytes, yaml: bool) -> Source:
    return read_source(content) if yaml else read_json(decode(content))


def is_number(text: str) -> bool:
    """Return whether the text is a whole number of ASCII digits that a database can store."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS


def _printable(text: str) -> str:
    """Return text that can be compared with names: other characters are replaced by U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")
