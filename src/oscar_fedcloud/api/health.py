# SPDX-License-Identifier: Apache-2.0
"""Is the daemon alive, and is each of its parts fit for work."""

from __future__ import annotations

from starlette.responses import PlainTextResponse, Response

from oscar_fedcloud.access.auth import Resource, may
from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.routing import TEXT, Route
from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.server.encoding import answer


async def health(call: RequestContext) -> Response:
    """OSCAR's health check, which clients compare letter by letter."""
    return PlainTextResponse("Ok")


async def livez(call: RequestContext) -> Response:
    """The process answers; a supervisor restarts it when this fails."""
    return PlainTextResponse("ok")


async def readyz(call: RequestContext) -> Response:
    """Each part by name; 503 when one does not work. The administrator and the monitor see why."""
    told = may(call.identity, "read", Resource("figures"))
    found = await call.api.standing.parts()
    parts = {name: views.Part(bool(part["ok"]), str(part["detail"]) if told else "") for name, part in found.items()}
    ready = all(part.ok for part in parts.values())
    return answer(views.Readiness(ready, parts), 200 if ready else 503)


ROUTES = (
    Route("GET", "/health", health, "Health (OSCAR)", "public", TEXT),
    Route("GET", "/livez", livez, "Is the process alive", "public", TEXT),
    Route("GET", "/readyz", readyz, "Are all parts fit for work", "public", views.Readiness, errors=(503,)),
)
