# SPDX-License-Identifier: Apache-2.0
"""``POST /v2/services:apply``: many services in one request. Plan and change use the same computation."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.parsing import placing, read, read_fdl
from oscar_fedcloud.api.routing import Parameter, Route
from oscar_fedcloud.api.secrets import keep_hidden
from oscar_fedcloud.api.v2 import serializers, views
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.services import Change
from oscar_fedcloud.fdl import FILE, SERVICE, Fdl, FdlError, FdlProblem, Service, Source, resolve
from oscar_fedcloud.fdl.containers import ListOf
from oscar_fedcloud.server.encoding import encode

_SERVICES = ListOf(SERVICE)
_IN_FDL = ("functions", "storage_providers", "clusters", "document")
_SCRIPT_PATH = re.compile(r"\S+\.(?:sh|bash|py)")
_PLACE = re.compile(r"`(?:\$\.)?([^`]+)`$")  # the place of a problem in msgspec's messages


async def apply_services(ctx: RequestContext) -> Response:
    """Declare or remove many services; with ``dry_run`` only return what would change."""
    dry_run = ctx.flag("dry_run")
    request = Request.of(await ctx.source())
    with placing(request.source, request.below, request.place):
        change, warnings = await asyncio.to_thread(_change, ctx.invoker, request)
        plan = await (ctx.invoker.changes.plan(change) if dry_run else ctx.invoker.changes.apply(change))
    body = await asyncio.to_thread(lambda: encode(serializers.plan_view(plan, warnings)))
    return Response(body, media_type="application/json")


@dataclass(slots=True)
class Request:
    """The body of a request.

    Attributes:
        bare: whether the body is an FDL document itself.
        places: the places of the services in the FDL document.
    """

    source: Source
    document: Mapping[str, Any]
    bare: bool
    places: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source) -> Request:
        """Parse each member of the body."""
        data: Mapping[str, Any] = source.data
        if "functions" in data:
            return cls(source, {"fdl": resolve(FILE, data)}, bare=True)
        kinds = {"fdl": FILE, "services": _SERVICES}
        return cls(source, {name: resolve(kinds.get(name), value) for name, value in data.items()}, bare=False)

    def below(self, path: str) -> str:
        """Return the path in the body for the path of a problem."""
        return path if self.bare or path.partition("[")[0].partition(".")[0] not in _IN_FDL else f"fdl.{path}"

    def place(self, number: int) -> str:
        """Return the place in the body of a service of the change."""
        return self.places[number] if number < len(self.places) else f"services[{number}]"


def _change(invoker: Invoker, request: Request) -> tuple[Change, tuple[str, ...]]:
    """Return the requested change, and the warnings from parsing it. Raises FdlError."""
    wanted = _read(request.document)
    services, warnings = _services(invoker, wanted, request)
    names = wanted.names or [service.name for service in services]
    if doubles := [name for name, count in Counter(names).items() if count > 1]:
        raise FdlError(FdlProblem("services", name, f"{name!r} is named twice", "give it once") for name in doubles)
    if wanted.state == "absent":
        return Change(names=tuple(names), state="absent", data=wanted.data), warnings
    documents = tuple(keep_hidden(service, _current(invoker, service.name)) for service in services)
    return Change(documents=documents, prune=wanted.prune), warnings


def _current(invoker: Invoker, name: str) -> Service | None:
    declared = invoker.catalogue.declared(name)
    return declared.service if declared else None


def _read(document: Mapping[str, Any]) -> views.Apply:
    """Check the request except for the services in it. Raises FdlError."""
    try:
        wanted = msgspec.convert(document, views.Apply)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        problem = FdlProblem(place[1] if place else "", None, str(error), "see Apply in /openapi.json")
        raise FdlError([problem]) from None
    if problems := list(_contradictions(wanted)):
        raise FdlError(problems)
    return wanted


def _contradictions(wanted: views.Apply) -> Iterator[FdlProblem]:
    absent = wanted.state == "absent"
    sources = [source for source in (wanted.fdl, wanted.services, wanted.names) if source is not None]
    if len(sources) != 1:
        hint = "give exactly one of fdl, services and names"
        yield FdlProblem("fdl", None, f"{len(sources)} sources of services are given", hint)
    if absent and wanted.prune:
        yield FdlProblem("prune", True, "prune has no meaning with state absent", "leave it out")
    if not absent and wanted.data == "delete":
        yield FdlProblem("data", "delete", "'delete' is possible with state absent only", "leave data out")
    if not absent and wanted.names is not None:
        yield FdlProblem("names", None, "names belongs to state absent", "give fdl or services")


def _services(invoker: Invoker, wanted: views.Apply, request: Request) -> tuple[list[Service], tuple[str, ...]]:
    """Return the given services, and the warnings from parsing them. Raises FdlError with the problems of all."""
    if wanted.fdl is not None:
        fdl = read_fdl(invoker, wanted.fdl)
        request.places = fdl.places
        return list(fdl.services), (*fdl.warnings, *_paths_as_scripts(fdl))
    services: list[Service] = []
    warnings: list[str] = []
    problems: list[FdlProblem] = []
    for index, document in enumerate(wanted.services or ()):
        try:
            service, remarks = read(invoker, document, f"services[{index}]")
        except FdlError as error:
            problems += error.problems
            continue
        services.append(service)
        warnings += remarks
    if problems:
        raise FdlError(problems)
    return services, tuple(warnings)


def _paths_as_scripts(fdl: Fdl) -> Iterator[str]:
    """Yield warnings about scripts that look like the path of a script in an FDL file on a client's disk."""
    for place, service in zip(fdl.places, fdl.services, strict=True):
        if _SCRIPT_PATH.fullmatch(service.script):
            text = f"is {service.script!r}, which looks like a path; the server reads no files and runs it as it is"
            yield f"{place}.script {text}"


ROUTES = (
    Route(
        "POST",
        "/v2/services:apply",
        handler=apply_services,
        summary="Declare or remove many services, or plan it",
        kind="service",
        answer=views.PlanView,
        request=views.Apply,
        yaml=True,
        parameters=(Parameter("dry_run", "only return what would change", "boolean"),),
        errors=(412, 422),
    ),
)
