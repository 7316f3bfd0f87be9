# SPDX-License-Identifier: Apache-2.0
"""The web application: the API behind its middleware, and the webhooks of stores."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from oscar_fedcloud.api.context import Api
from oscar_fedcloud.api.errors import respond
from oscar_fedcloud.api.hints import no_route
from oscar_fedcloud.api.metrics import CoreCollector
from oscar_fedcloud.api.routes import ROUTES
from oscar_fedcloud.api.routing import serve
from oscar_fedcloud.api.v2.jobs import JOB_HEADER
from oscar_fedcloud.config import Config
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.server.limits import Limits, LimitsMiddleware


def limits_of(config: Config) -> Limits:
    """Return the configured limits."""
    return Limits(
        max_body=config.max_body,
        max_pending=config.max_pending or 2 * config.max_body,
        max_connections=config.max_connections,
    )


def create_app(invoker: Invoker, hooks: Mapping[str, ASGIApp] | None = None, limits: Limits | None = None) -> ASGIApp:
    """Return the daemon's web application.

    Args:
        hooks: applications by exact path, served before any middleware, since they are the hot path.
    """
    api = create_api(invoker, limits or limits_of(invoker.config))
    hot = dict(hooks or {})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await hot.get(scope.get("path", ""), api)(scope, receive, send)

    return app


def create_api(invoker: Invoker, limits: Limits) -> Starlette:
    """Return the API without middleware for hooks."""
    api = Api(invoker, limits)
    api.registry.register(CoreCollector(invoker))
    app = Starlette(
        routes=[served for route in ROUTES for served in serve(route, api)],
        middleware=[_cors(invoker.config), Middleware(LimitsMiddleware, limits=limits)],
        exception_handlers={HTTPException: _no_route},
    )
    app.router.redirect_slashes = False
    return app


def _cors(config: Config) -> Middleware:
    """Return the CORS middleware. Dashboards in browsers call from other origins, with credentials but no cookies."""
    return Middleware(
        CORSMiddleware,
        allow_origins=config.cors_origins,
        allow_methods=("GET", "PUT", "POST", "DELETE"),
        allow_headers=("*",),
        expose_headers=("ETag", "Location", JOB_HEADER, "Retry-After"),
    )


async def _no_route(request: Request, error: Exception) -> Response:
    """Return what is possible instead: 405 with the methods of the path, else 404, each with the closest match."""
    return respond(request.scope, no_route(request.method, request.url.path))
