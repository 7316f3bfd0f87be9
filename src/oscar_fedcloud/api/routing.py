# SPDX-License-Identifier: Apache-2.0
"""The structure of the route table, and how a route is served."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import starlette.routing
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from oscar_fedcloud.access.auth import Kind, Resource, Verb, identify
from oscar_fedcloud.api.context import Api, RequestContext
from oscar_fedcloud.api.errors import respond
from oscar_fedcloud.api.idempotency import MAX_KEY, claimed
from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.server.origin import check_document, check_origin
from oscar_fedcloud.server.problems import ApiError, invalid

Handler = Callable[[RequestContext], Awaitable[Response]]
BYTES = "application/octet-stream"
TEXT = "text/plain"
MAX_PARAMETER = 4096  # characters; a key has at most 1,024 bytes
_SHORTER = f"at most {MAX_PARAMETER} are allowed"


class ObjectKey(Convertor[str]):
    """Matches the rest of the path, with any characters including line breaks."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        """Return the key as in the decoded path."""
        return value

    def to_string(self, value: str) -> str:
        """Return the key as in the decoded path."""
        return value


register_url_convertor("key", ObjectKey())


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a request header."""

    name: str
    meaning: str
    type: Literal["string", "integer", "boolean"] = "string"
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    Attributes:
        kind: the kind of resource, for ``auth.may``.
        verb: what is done to the resource, for ``auth.may``.
        status: the status on success.
        request: a type, a media type for bytes or text, or None for nothing.
        answer: the same for the response.
        errors: other statuses that clients must expect, besides those of every route (201 has the same response body).
        yaml: whether the body may be YAML instead of JSON.
    """

    method: Literal["GET", "PUT", "POST", "DELETE"]
    path: str
    handler: Handler
    summary: str
    kind: Kind
    answer: Any = None
    status: int = 200
    verb: Verb | None = None
    request: Any = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    yaml: bool = False

    @property
    def action(self) -> Verb:
        """The action of the route on its resource."""
        return self.verb or ("read" if self.method == "GET" else "write")

    @property
    def takes_json(self) -> bool:
        """Whether its body is JSON."""
        return self.request is not None and not isinstance(self.request, str)

    @property
    def own(self) -> bool:
        """Whether the route belongs to ``/v2`` rather than to the OSCAR-compatible routes."""
        return self.path.startswith("/v2/")

    @property
    def template(self) -> str:
        """The path as in OpenAPI."""
        return self.path.replace(":key}", "}")


def serve(route: Route, api: Api) -> Iterator[starlette.routing.Route]:
    """Yield the route for Starlette.

    OSCAR-compatible paths are also served with a trailing slash, as clients send it.
    """

    async def endpoint(request: Request) -> Response:
        with api.requests.timed(route.method, route.template) as outcome:
            try:
                response = await _answer(route, api, request)
            except Exception as error:  # the only place where exceptions become responses
                response = respond(request.scope, error)
            outcome.status = response.status_code
            return response

    paths = (route.path,) if route.own else (route.path, f"{route.path}/")
    for path in paths:
        yield starlette.routing.Route(path, endpoint, methods=[route.method])


async def _answer(route: Route, api: Api, request: Request) -> Response:
    with closing(
        RequestContext(request, api, identify(request.headers, api.invoker.config, api.invoker.catalogue))
    ) as ctx:
        return await _handle(route, ctx)


async def _handle(route: Route, ctx: RequestContext) -> Response:
    ctx.demand(route.action, Resource(route.kind, ctx.param("name")))
    check_origin(route.method, ctx.request.headers)
    if route.own:
        _check_query(route, ctx)
    _check_lengths(ctx)
    if route.takes_json and ctx.has_body:
        check_document(ctx.request.headers, route.yaml)
    key = ctx.header("idempotency-key") or (ctx.header("x-delegated-job-id") if route.action == "start" else "")
    if route.method != "POST" or not key or ctx.query.get("dry_run", "false").lower() not in ("false", "0", ""):
        return await route.handler(ctx)
    if len(key) > MAX_KEY:
        raise ApiError(400, f"the Idempotency-Key has {len(key)} characters, {MAX_KEY} are allowed")
    body = await ctx.body(ctx.api.limits.max_body if route.request == BYTES else 0)
    scope = ctx.request.scope
    place = scope["path"].rstrip("/"), scope["query_string"].decode("latin-1")
    request = digest(ctx.identity.kind, ctx.identity.name, *place, body.digest)
    ledger = ctx.invoker.ledger
    return await ctx.api.replies.once(
        (key,), request, lambda: claimed(ledger, key, request, lambda: route.handler(ctx))
    )


def _check_lengths(ctx: RequestContext) -> None:
    for name, value in ctx.query.items():
        if len(value) > MAX_PARAMETER:
            raise invalid(f"query.{name}", value[:40] + "…", f"{name} has {len(value)} characters", _SHORTER)


def _check_query(route: Route, ctx: RequestContext) -> None:
    known = [one.name for one in route.parameters if one.place == "query"]
    for name, value in ctx.query.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known) or 'none'}"
            raise invalid(f"query.{name}", value, f"{name} is not a known parameter", hint)
