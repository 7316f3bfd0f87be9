# SPDX-License-Identifier: Apache-2.0
"""The route table: what is served, who may use it, and its documentation."""

from __future__ import annotations

from starlette.responses import Response

from oscar_fedcloud.api import health, metrics
from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.openapi import document
from oscar_fedcloud.api.oscar import logs, system
from oscar_fedcloud.api.oscar import services as oscar_services
from oscar_fedcloud.api.routing import Route
from oscar_fedcloud.api.v2 import apply, buckets, dead_letters, jobs, services
from oscar_fedcloud.server.encoding import answer


async def get_openapi(ctx: RequestContext) -> Response:
    """Return the OpenAPI 3.1 document of this API."""
    return answer(document(ROUTES, ctx.invoker.version))


ROUTES: tuple[Route, ...] = (
    *apply.ROUTES,
    *services.ROUTES,
    *jobs.ROUTES,
    *buckets.ROUTES,
    *dead_letters.ROUTES,
    *oscar_services.ROUTES,
    *logs.ROUTES,
    *system.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
    Route("GET", "/openapi.json", handler=get_openapi, summary="This API as OpenAPI", kind="public", answer=dict),
)
