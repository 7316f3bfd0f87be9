# SPDX-License-Identifier: Apache-2.0
"""``/system/services`` of OSCAR, as its clients expect it: lenient parsing, Go's field order, errors as plain text."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.oscar.system import site_store
from oscar_fedcloud.api.parsing import placing_service, read, service_document
from oscar_fedcloud.api.routing import Route
from oscar_fedcloud.api.secrets import SERVICE_LABEL, keep_hidden
from oscar_fedcloud.config import Config
from oscar_fedcloud.domain.services import Change, Conflict, Declared, NotFound
from oscar_fedcloud.fdl import HIDDEN, Service, to_document
from oscar_fedcloud.server.encoding import answer, encode
from oscar_fedcloud.server.problems import ApiError


async def list_services(ctx: RequestContext) -> Response:
    """Return all services as in OSCAR."""
    config, services = ctx.invoker.config, ctx.invoker.catalogue.all_declared()
    body = await asyncio.to_thread(lambda: encode([oscar_document(config, declared) for declared in services]))
    return Response(body, media_type="application/json")


async def get_service(ctx: RequestContext) -> Response:
    """Return one service as in OSCAR, with its token."""
    return answer(oscar_document(ctx.invoker.config, ctx.declared()))


async def create_service(ctx: RequestContext) -> Response:
    """Declare a new service; 409 if the name is in use, as in OSCAR."""
    service = await _read(ctx)
    try:
        await ctx.invoker.changes.apply(Change(documents=(keep_hidden(service, None),), expect_revision=0))
    except Conflict:
        raise ApiError(409, f"a service with name {service.name!r} already exists") from None
    return Response(status_code=201)


async def update_service(ctx: RequestContext) -> Response:
    """Replace the declaration of the service named in the body."""
    service = await _read(ctx)
    current = ctx.invoker.catalogue.declared(service.name)
    if current is None:
        raise NotFound(f"service {service.name} does not exist")
    await ctx.invoker.changes.apply(Change(documents=(keep_hidden(service, current.service),)))
    return Response(status_code=204)


async def delete_service(ctx: RequestContext) -> Response:
    """Remove a service. Unlike the existing server, this one keeps the service's buckets and their data."""
    name = ctx.declared().service.name
    await ctx.invoker.changes.apply(Change(names=(name,), state="absent", data="keep"))
    return Response(status_code=204)


async def _read(ctx: RequestContext) -> Service:
    source = await ctx.source()
    with placing_service(source):
        service, _ = await asyncio.to_thread(read, ctx.invoker, service_document(source), "service", False)
    return service


def oscar_document(config: Config, declared: Declared) -> dict[str, Any]:
    """Return a service as in OSCAR: with its token and providers; the site's keys hidden, secrets blanked."""
    service = declared.service
    document = to_document(service, secrets=config.show_store_keys)
    document["token"] = service.token
    document["labels"] = {**document["labels"], SERVICE_LABEL: service.name}
    environment = document["environment"]
    document["environment"] = {**environment, "secrets": dict.fromkeys(environment["secrets"], "")}
    providers = document["storage_providers"]
    own = {**site_store(config), "access_key": HIDDEN, "secret_key": HIDDEN}
    document["storage_providers"] = {**providers, "minio": {"default": own, **providers.get("minio", {})}}
    return document


ROUTES = (
    Route(
        "GET", "/system/services", handler=list_services, summary="All services (OSCAR)", kind="service", answer=list
    ),
    Route(
        "POST",
        "/system/services",
        handler=create_service,
        summary="Declare a service (OSCAR)",
        kind="service",
        status=201,
        request=dict,
        yaml=True,
        errors=(409,),
    ),
    Route(
        "PUT",
        "/system/services",
        handler=update_service,
        summary="Change a service (OSCAR)",
        kind="service",
        status=204,
        request=dict,
        yaml=True,
        errors=(404,),
    ),
    Route(
        "GET",
        "/system/services/{name}",
        handler=get_service,
        summary="One service (OSCAR)",
        kind="service",
        answer=dict,
        errors=(404,),
    ),
    Route(
        "DELETE",
        "/system/services/{name}",
        handler=delete_service,
        summary="Remove a service, its data stays (OSCAR)",
        kind="service",
        status=204,
        errors=(404,),
    ),
)
