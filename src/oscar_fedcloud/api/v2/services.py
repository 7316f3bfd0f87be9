# SPDX-License-Identifier: Apache-2.0
"""Declared services under ``/v2``, one at a time. ``apply`` handles many in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext, is_number
from oscar_fedcloud.api.paging import PAGE, cursor_of, named_by, page
from oscar_fedcloud.api.parsing import placing_service, read, service_document
from oscar_fedcloud.api.routing import Parameter, Route
from oscar_fedcloud.api.secrets import keep_hidden
from oscar_fedcloud.api.v2 import serializers, views
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.services import Change, Conflict, Declared
from oscar_fedcloud.server.encoding import answer, encode
from oscar_fedcloud.server.problems import ApiError, bad_cursor, invalid


async def list_services(ctx: RequestContext) -> Response:
    """Return all services, by page, with their states and the number of jobs in each state."""
    after = named_by(ctx)
    found = [one for one in ctx.invoker.catalogue.all_declared() if one.service.name > after]
    shown, cursor = page(ctx, found, lambda one: cursor_of(one.service.name))
    body = await asyncio.to_thread(_listed, ctx.invoker, shown, cursor)
    return Response(body, media_type="application/json")


def _listed(invoker: Invoker, services: Sequence[Declared], cursor: str) -> bytes:
    counts = invoker.ledger.counts()
    shown = [serializers.service_view(one, counts.get(one.service.name, {})) for one in services]
    return encode(views.Services(shown, cursor))


async def get_service(ctx: RequestContext) -> Response:
    """Return one service; its revision is the ETag."""
    declared = ctx.declared()
    if etag_matches(ctx.header("if-none-match"), declared.revision):
        return Response(status_code=304, headers={"ETag": etag(declared.revision)})
    return await service_answer(ctx, declared)


async def put_service(ctx: RequestContext) -> Response:
    """Declare a service by its document."""
    name = ctx.param("name")
    source = await ctx.source()
    document = service_document(source)
    if document.setdefault("name", name) != name:
        raise invalid("service.name", document["name"], f"{document['name']!r} differs from {name!r} in the address")
    current = ctx.invoker.catalogue.declared(name)
    expected = expectation(ctx, current)
    with placing_service(source):
        service, _ = await asyncio.to_thread(read, ctx.invoker, document)
        service = keep_hidden(service, current.service if current else None)
        await ctx.invoker.changes.apply(Change(documents=(service,), expect_revision=expected))
    return await service_answer(ctx, ctx.declared(), 200 if current else 201)


async def delete_service(ctx: RequestContext) -> Response:
    """Remove a service; its buckets are kept unless ``data=delete`` is given."""
    data = ctx.query.get("data", "keep")
    if data not in ("keep", "delete"):
        raise invalid("query.data", data, f"{data!r} is not keep or delete")
    current = ctx.declared()
    name = current.service.name
    expected = expectation(ctx, current)
    await ctx.invoker.changes.apply(Change(names=(name,), state="absent", data=data, expect_revision=expected))  # type: ignore[arg-type]
    return Response(status_code=204)


async def rollback_service(ctx: RequestContext) -> Response:
    """Declare an earlier revision again, by default the previous one."""
    revision = _revision((await ctx.document()).get("revision"))
    await ctx.invoker.changes.rollback(ctx.declared().service.name, revision)
    return await service_answer(ctx, ctx.declared())


def _revision(value: object) -> int | None:
    """Return the number of a revision, given as text or as a number. Raises ApiError 422."""
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not is_number(text):
        raise invalid("revision", value, f"{value!r} is not a revision", 'give it as it is shown, for example "3"')
    return int(text)


async def list_revisions(ctx: RequestContext) -> Response:
    """Return the revisions of a service, newest first, by page.

    The cursor is the oldest revision of the previous page.
    """
    cursor = ctx.query.get("cursor", "")
    if cursor and not is_number(cursor):
        raise bad_cursor(cursor)
    found = await asyncio.to_thread(ctx.invoker.changes.revisions, ctx.declared().service.name)
    older = [one for one in found if not cursor or one["revision"] < int(cursor)]
    shown, following = page(ctx, older, lambda one: str(one["revision"]))
    revisions = [views.Revision(str(one["revision"]), serializers.time_of(one["changed"])) for one in shown]
    return answer(views.Revisions(revisions, following))


async def service_answer(ctx: RequestContext, declared: Declared, status: int = 200) -> Response:
    """Return the view of a service with its ETag."""
    name = declared.service.name
    counts = await asyncio.to_thread(ctx.invoker.ledger.counts, name)
    view = serializers.service_view(declared, counts.get(name, {}))
    return answer(view, status, {"ETag": etag(declared.revision)})


def etag(revision: int) -> str:
    """Return the entity tag of a service's revision."""
    return f'"{revision}"'


def etag_matches(header: str, revision: int) -> bool:
    """Return whether a list of entity tags, or ``*``, matches this revision."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag(revision) in tags


def expectation(ctx: RequestContext, current: Declared | None) -> int | None:
    """Return the revision that If-Match and If-None-Match require for the change. Raises Conflict."""
    name = ctx.param("name")
    if header := ctx.header("if-match"):
        if current is None:
            raise Conflict(f"service {name} does not exist, If-Match expects {header}")
        if not etag_matches(header, current.revision):
            raise Conflict(f"service {name} is at revision {current.revision}, If-Match expects {header}")
        return current.revision
    if header := ctx.header("if-none-match"):
        if header.strip() != "*":
            raise ApiError(400, "If-None-Match on a change can only be *")
        return 0
    return None


_MATCH = Parameter("If-Match", "change only this revision", place="header")
_NONE_MATCH = Parameter("If-None-Match", "* means only if it does not exist yet", place="header")
_CACHED = Parameter("If-None-Match", "304 when this is still the revision", place="header")
_DATA = Parameter("data", "keep (default) or delete the service's buckets and their objects")

ROUTES = (
    Route(
        "GET",
        "/v2/services",
        handler=list_services,
        summary="All services",
        kind="service",
        answer=views.Services,
        parameters=PAGE,
        errors=(422,),
    ),
    Route(
        "GET",
        "/v2/services/{name}",
        handler=get_service,
        summary="One service",
        kind="service",
        answer=views.Service,
        parameters=(_CACHED,),
        errors=(304, 404),
    ),
    Route(
        "PUT",
        "/v2/services/{name}",
        handler=put_service,
        summary="Declare a service (201 when it is new)",
        kind="service",
        answer=views.Service,
        request=dict,
        yaml=True,
        parameters=(_MATCH, _NONE_MATCH),
        errors=(201, 412, 422),
    ),
    Route(
        "DELETE",
        "/v2/services/{name}",
        handler=delete_service,
        summary="Remove a service",
        kind="service",
        status=204,
        parameters=(_DATA, _MATCH),
        errors=(404, 412, 422),
    ),
    Route(
        "POST",
        "/v2/services/{name}:rollback",
        handler=rollback_service,
        summary="Declare an earlier revision again",
        kind="service",
        answer=views.Service,
        request=views.Rollback,
        errors=(404, 422),
    ),
    Route(
        "GET",
        "/v2/services/{name}/revisions",
        handler=list_revisions,
        summary="Revisions of a service",
        kind="service",
        answer=views.Revisions,
        parameters=PAGE,
        errors=(404, 422),
    ),
)
