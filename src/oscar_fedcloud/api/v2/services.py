# SPDX-License-Identifier: Apache-2.0
"""Declared services under ``/v2``, one at a time. Many at once are in ``apply``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext, is_number
from oscar_fedcloud.api.paging import PAGE, cursor_of, named_by, page
from oscar_fedcloud.api.parsing import placing_service, read, service_document
from oscar_fedcloud.api.routing import Parameter, Route
from oscar_fedcloud.api.secrets import keep_hidden
from oscar_fedcloud.api.v2 import serializers as present
from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.services import Change, Conflict, Declared
from oscar_fedcloud.server.encoding import answer, encode
from oscar_fedcloud.server.problems import ApiError, bad_cursor, invalid


async def list_services(call: RequestContext) -> Response:
    """All services, by page, with their standing and how many jobs they have in each state."""
    after = named_by(call)
    found = [one for one in call.invoker.catalogue.all_declared() if one.service.name > after]
    shown, cursor = page(call, found, lambda one: cursor_of(one.service.name))
    body = await asyncio.to_thread(_listed, call.invoker, shown, cursor)
    return Response(body, media_type="application/json")


def _listed(invoker: Invoker, services: Sequence[Declared], cursor: str) -> bytes:
    counts = invoker.ledger.counts()
    shown = [present.service_view(one, counts.get(one.service.name, {})) for one in services]
    return encode(views.Services(shown, cursor))


async def get_service(call: RequestContext) -> Response:
    """One service; its revision is the ETag."""
    declared = call.declared()
    if etag_matches(call.header("if-none-match"), declared.revision):
        return Response(status_code=304, headers={"ETag": etag(declared.revision)})
    return await service_answer(call, declared)


async def put_service(call: RequestContext) -> Response:
    """Declare a service by its document."""
    name = call.param("name")
    source = await call.source()
    document = service_document(source)
    if document.setdefault("name", name) != name:
        raise invalid("service.name", document["name"], f"{document['name']!r} differs from {name!r} in the address")
    current = call.invoker.catalogue.declared(name)
    expected = expectation(call, current)
    with placing_service(source):
        service, _ = await asyncio.to_thread(read, call.invoker, document)
        service = keep_hidden(service, current.service if current else None)
        await call.invoker.changes.apply(Change(documents=(service,), expect_revision=expected))
    return await service_answer(call, call.declared(), 200 if current else 201)


async def delete_service(call: RequestContext) -> Response:
    """Remove a service; its buckets stay unless ``data=delete`` is asked for."""
    data = call.query.get("data", "keep")
    if data not in ("keep", "delete"):
        raise invalid("query.data", data, f"{data!r} is not keep or delete")
    current = call.declared()
    name = current.service.name
    expected = expectation(call, current)
    await call.invoker.changes.apply(Change(names=(name,), state="absent", data=data, expect_revision=expected))  # type: ignore[arg-type]
    return Response(status_code=204)


async def rollback_service(call: RequestContext) -> Response:
    """Declare an earlier revision again, by default the one before."""
    revision = _revision((await call.document()).get("revision"))
    await call.invoker.changes.rollback(call.declared().service.name, revision)
    return await service_answer(call, call.declared())


def _revision(value: object) -> int | None:
    """Return the number of a revision, given as the text that answers show or as a number. Raises ApiError 422."""
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not is_number(text):
        raise invalid("revision", value, f"{value!r} is not a revision", 'give it as it is shown, for example "3"')
    return int(text)


async def list_revisions(call: RequestContext) -> Response:
    """The revisions of a service, newest first, by page. A cursor is the oldest revision of the page before."""
    cursor = call.query.get("cursor", "")
    if cursor and not is_number(cursor):
        raise bad_cursor(cursor)
    found = await asyncio.to_thread(call.invoker.changes.revisions, call.declared().service.name)
    older = [one for one in found if not cursor or one["revision"] < int(cursor)]
    shown, following = page(call, older, lambda one: str(one["revision"]))
    revisions = [views.Revision(str(one["revision"]), present.time_of(one["changed"])) for one in shown]
    return answer(views.Revisions(revisions, following))


async def service_answer(call: RequestContext, declared: Declared, status: int = 200) -> Response:
    """The view of a service with its ETag."""
    name = declared.service.name
    counts = await asyncio.to_thread(call.invoker.ledger.counts, name)
    view = present.service_view(declared, counts.get(name, {}))
    return answer(view, status, {"ETag": etag(declared.revision)})


def etag(revision: int) -> str:
    """The entity tag of a service's revision."""
    return f'"{revision}"'


def etag_matches(header: str, revision: int) -> bool:
    """Whether a list of entity tags, or ``*``, names this revision."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag(revision) in tags


def expectation(call: RequestContext, current: Declared | None) -> int | None:
    """The revision at which the change may be made, by If-Match and If-None-Match. Raises Conflict."""
    name = call.param("name")
    if header := call.header("if-match"):
        if current is None:
            raise Conflict(f"service {name} does not exist, If-Match expects {header}")
        if not etag_matches(header, current.revision):
            raise Conflict(f"service {name} stands at revision {current.revision}, If-Match expects {header}")
        return current.revision
    if header := call.header("if-none-match"):
        if header.strip() != "*":
            raise ApiError(400, "If-None-Match on a change can only be *")
        return 0
    return None


_MATCH = Parameter("If-Match", "change only this revision", place="header")
_NONE_MATCH = Parameter("If-None-Match", "* = only if there is none yet", place="header")
_CACHED = Parameter("If-None-Match", "304 when this is still the revision", place="header")
_DATA = Parameter("data", "keep (default) or delete the service's buckets and their objects")

ROUTES = (
    Route(
        "GET", "/v2/services", list_services, "All services", "service", views.Services, parameters=PAGE, errors=(422,)
    ),
    Route(
        "GET",
        "/v2/services/{name}",
        get_service,
        "One service",
        "service",
        views.Service,
        parameters=(_CACHED,),
        errors=(304, 404),
    ),
    Route(
        "PUT",
        "/v2/services/{name}",
        put_service,
        "Declare a service (201 when it is new)",
        "service",
        views.Service,
        request=dict,
        yaml=True,
        parameters=(_MATCH, _NONE_MATCH),
        errors=(201, 412, 422),
    ),
    Route(
        "DELETE",
        "/v2/services/{name}",
        delete_service,
        "Remove a service",
        "service",
        status=204,
        parameters=(_DATA, _MATCH),
        errors=(404, 412, 422),
    ),
    Route(
        "POST",
        "/v2/services/{name}:rollback",
        rollback_service,
        "Declare an earlier revision again",
        "service",
        views.Service,
        request=views.Rollback,
        errors=(404, 422),
    ),
    Route(
        "GET",
        "/v2/services/{name}/revisions",
        list_revisions,
        "Revisions of a service",
        "service",
        views.Revisions,
        parameters=PAGE,
        errors=(404, 422),
    ),
)
