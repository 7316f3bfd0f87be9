# SPDX-License-Identifier: Apache-2.0
"""``/system/services`` of OSCAR, as its clients expect it: lenient in, Go's field order out, plain text for errors."""

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


async def list_services(call: RequestContext) -> Response:
    """All services as OSCAR shows them."""
    config, services = call.invoker.config, call.invoker.catalogue.all_declared()
    body = await asyncio.to_thread(lambda: encode([oscar_document(config, declared) for declared in services]))
    return Response(body, media_type="application/json")


async def get_service(call: RequestContext) -> Response:
    """One service as OSCAR shows it, with its token."""
    return answer(oscar_document(call.invoker.config, call.declared()))


async def create_service(call: RequestContext) -> Response:
    """Declare a new service; 409 when its name is taken, as OSCAR answers."""
    service = await _read(call)
    try:
        await call.invoker.changes.apply(Change(documents=(keep_hidden(service, None),), expect_revision=0))
    except Conflict:
        raise ApiError(409, f"a service with name {service.name!r} already exists") from None
    return Response(status_code=201)


async def update_service(call: RequestContext) -> Response:
    """Declare a service anew; its name stands in the body."""
    service = await _read(call)
    current = call.invoker.catalogue.declared(service.name)
    if current is None:
        raise NotFound(f"service {service.name} does not exist")
    await call.invoker.changes.apply(Change(documents=(keep_hidden(service, current.service),)))
    return Response(status_code=204)


async def delete_service(call: RequestContext) -> Response:
    """Remove a service. Unlike the existing server, this one keeps the service's buckets and their data."""
    name = call.declared().service.name
    await call.invoker.changes.apply(Change(names=(name,), state="absent", data="keep"))
    return Response(status_code=204)


async def _read(call: RequestContext) -> Service:
    source = await call.source()
    with placing_service(source):
        service, _ = await asyncio.to_thread(read, call.invoker, service_document(source), "service", False)
    return service


def oscar_document(config: Config, declared: Declared) -> dict[str, Any]:
    """A service as OSCAR shows it: with its token and providers, the site's keys hidden, secrets blanked."""
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
    Route("GET", "/system/services", list_services, "All services (OSCAR)", "service", list),
    Route(
        "POST",
        "/system/services",
        create_service,
        "Declare a service (OSCAR)",
        "service",
        status=201,
        request=dict,
        yaml=True,
        errors=(409,),
    ),
    Route(
        "PUT",
        "/system/services",
        update_service,
        "Change a service (OSCAR)",
        "service",
        status=204,
        request=dict,
        yaml=True,
        errors=(404,),
    ),
    Route("GET", "/system/services/{name}", get_service, "One service (OSCAR)", "service", dict, errors=(404,)),
    Route(
        "DELETE",
        "/system/services/{name}",
        delete_service,
        "Remove a service, its data stays (OSCAR)",
        "service",
        status=204,
        errors=(404,),
    ),
)
