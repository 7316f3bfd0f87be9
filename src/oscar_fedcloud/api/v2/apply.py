# SPDX-License-Identifier: Apache-2.0
"""``POST /v2/services:apply``: many services in one request, as a plan or for real; one computation serves both."""

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
from oscar_fedcloud.api.v2 import serializers as present
from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.domain.services import Change
from oscar_fedcloud.fdl import FILE, SERVICE, Fdl, FdlError, FdlProblem, Service, Source, resolve
from oscar_fedcloud.fdl.containers import ListOf
from oscar_fedcloud.server.encoding import encode

_SERVICES = ListOf(SERVICE)
_IN_FDL = ("functions", "storage_providers", "clusters", "document")
_SCRIPT_PATH = re.compile(r"\S+\.(?:sh|bash|py)")
_PLACE = re.compile(r"`(?:\$\.)?([^`]+)`$")  # where msgspec says that something is wrong


async def apply_services(call: RequestContext) -> Response:
    """Declare or remove many services; with ``dry_run`` only say what would change."""
    dry_run = call.flag("dry_run")
    request = Request.of(await call.source())
    with placing(request.source, request.below, request.place):
        change, warnings = await asyncio.to_thread(_change, call.invoker, request)
        plan = await (call.invoker.changes.plan(change) if dry_run else call.invoker.changes.apply(change))
    body = await asyncio.to_thread(lambda: encode(present.plan_view(plan, warnings)))
    return Response(body, media_type="application/json")


@dataclass(slots=True)
class Request:
    """The body of a request. bare: it is an FDL document itself. places: of the services in the FDL document."""

    source: Source
    document: Mapping[str, Any]
    bare: bool
    places: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source) -> Request:
        """Give each member of the body the types of its fields."""
        data: Mapping[str, Any] = source.data
        if "functions" in data:
            return cls(source, {"fdl": resolve(FILE, data)}, bare=True)
        kinds = {"fdl": FILE, "services": _SERVICES}
        return cls(source, {name: resolve(kinds.get(name), value) for name, value in data.items()}, bare=False)

    def below(self, path: str) -> str:
        """The path in the body of a problem's path."""
        return path if self.bare or path.partition("[")[0].partition(".")[0] not in _IN_FDL else f"fdl.{path}"

    def place(self, number: int) -> str:
        """What the body calls a service of the change."""
        return self.places[number] if number < len(self.places) else f"services[{number}]"


def _change(invoker: Invoker, request: Request) -> tuple[Change, tuple[str, ...]]:
    """The change that the body of the request asks for, and the warnings of reading it. Raises FdlError."""
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
    """Check the request around the services themselves. Raises FdlError."""
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
    """The services that are given, and the warnings of reading them. Raises FdlError with the problems of all."""
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
    """Warnings about scripts that look like what an FDL file on somebody's disk says instead of a script."""
    for place, service in zip(fdl.places, fdl.services, strict=True):
        if _SCRIPT_PATH.fullmatch(service.script):
            text = f"is {service.script!r}, which looks like a path; the server reads no files and runs it as it is"
            yield f"{place}.script {text}"


ROUTES = (
    Route(
        "POST",
        "/v2/services:apply",
        apply_services,
        "Declare or remove many services, or plan it",
        "service",
        views.PlanView,
        request=views.Apply,
        yaml=True,
        parameters=(Parameter("dry_run", "only say what would change", "boolean"),),
        errors=(412, 422),
    ),
)
