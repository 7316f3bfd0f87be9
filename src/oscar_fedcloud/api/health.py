# SPDX-License-Identifier: Apache-2.0
"""Whether the daemon is alive, and whether each of its parts works."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from oscar_fedcloud.access.auth import Resource, may
from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.routing import TEXT, Route
from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.server.encoding import answer


async def health(ctx: RequestContext) -> Response:
    """Report that the server runs. OSCAR's health check, which clients compare literally."""
    return PlainTextResponse("Ok")


async def livez(ctx: RequestContext) -> Response:
    """Report that the process responds. A supervisor restarts it when this fails."""
    return PlainTextResponse("ok")


async def readyz(ctx: RequestContext) -> Response:
    """Report the state of each part; 503 if one does not work. The administrator and the monitor see the reasons."""
    told = may(ctx.identity, "read", Resource("figures"))
    found = await ctx.api.readiness.parts()
    parts = {name: views.Part(bool(part["ok"]), str(part["detail"]) if told else "") for name, part in found.items()}
    ready = all(part.ok for part in parts.values())
    return answer(views.Readiness(ready, parts), 200 if ready else 503)


ROUTES = (
    Route("GET", "/health", handler=health, summary="Health (OSCAR)", kind="public", answer=TEXT),
    Route("GET", "/livez", handler=livez, summary="Is the process alive", kind="public", answer=TEXT),
    Route(
        "GET",
        "/readyz",
        handler=readyz,
        summary="Are all parts fit for work",
        kind="public",
        answer=views.Readiness,
        errors=(503,),
    ),
)
