# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's HTTP API: health, metrics, the report, and explanations of decisions."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from oscar_fedcloud.autoscaler.planning.explain import explain
from oscar_fedcloud.autoscaler.reporting.report import page

if TYPE_CHECKING:
    from oscar_fedcloud.autoscaler.controller import Controller

_LONGEST_REPORT = 24 * 366  # hours


def create_app(controller: Controller) -> Starlette:
    """Create the application. It is read-only; the address it listens on determines who may reach it."""
    web = Web(controller)
    return Starlette(
        routes=[
            Route("/", web.start),
            Route("/livez", web.livez),
            Route("/readyz", web.readyz),
            Route("/metrics", web.metrics),
            Route("/report", web.report),
            Route("/explain", web.explain),
            Route("/machines", web.machines),
        ]
    )


class Web:
    """The handlers."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    async def start(self, request: Request) -> Response:
        """Redirect to the report."""
        return RedirectResponse("report")

    async def livez(self, request: Request) -> Response:
        """Answer that the process is alive. A supervisor restarts it if this fails."""
        return PlainTextResponse("ok")

    async def readyz(self, request: Request) -> Response:
        """Each part by name; 503 when the cluster is not watched or a task fails. Clouds that are away are shown."""
        parts = readiness(self.controller)
        ready = bool(parts["cluster"]["ok"] and parts["tasks"]["ok"])
        return JSONResponse({"ready": ready, "parts": parts}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Return all metrics in Prometheus' text format."""
        text = await asyncio.to_thread(generate_latest, self.controller.context.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def report(self, request: Request) -> Response:
        """Return the report of the last ``hours``."""
        try:
            hours = min(_LONGEST_REPORT, max(0.1, float(request.query_params.get("hours", "24"))))
        except ValueError:
            return PlainTextResponse("hours must be a number such as 24", 400)
        now, context = time.time(), self.controller.context
        past = await asyncio.to_thread(context.history.read, now - hours * 3600, now)
        return HTMLResponse(page(past, self.controller.pools(), context.cluster.name))

    async def explain(self, request: Request) -> Response:
        """Explain decisions about ``what``, the namespace/name of a Pod, or a node."""
        if not (what := request.query_params.get("what", "")):
            return PlainTextResponse("give what=NAMESPACE/POD or what=NODE", 400)
        controller = self.controller
        pools, rules = tuple(controller.pools().values()), controller.context.config.rules()
        found = explain(controller.snapshot(), pools, rules, what)
        answer = {"subject": found.subject, "outcome": found.outcome, "details": list(found.details)}
        return JSONResponse(answer, 200 if found.known else 404)

    async def machines(self, request: Request) -> Response:
        """Return the machines."""
        return JSONResponse([machine_row(view) for view in self.controller.context.machines.views().values()])


def machine_row(view: Any) -> dict[str, Any]:
    """Return a machine for programs, with times in s since the epoch."""
    names = ("name", "pool", "phase", "since", "asked", "cloud_id", "reason")
    return {name: getattr(view, name) for name in names}


def readiness(controller: Controller) -> dict[str, dict[str, Any]]:
    """Return the status of each part. A process that does not lead is ready as well, namely to take over."""
    observer, context = controller.observer, controller.context
    troubles = "; ".join(f"{what}: {why}" for what, why in observer.troubles.items())
    parts: dict[str, dict[str, Any]] = {
        "cluster": {"ok": observer.ready and not troubles, "detail": troubles or "watched"},
        "lead": {"ok": True, "detail": "leading" if controller.leads else "another one leads, or none yet"},
        "tasks": controller.tasks.health(),
    }
    for name in context.clouds:
        away = name in context.away
        parts[f"cloud {name}"] = {"ok": not away, "detail": "does not answer" if away else "answers"}
    return parts
