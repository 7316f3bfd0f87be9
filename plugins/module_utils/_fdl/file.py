# SPDX-License-Identifier: BSD-2-Clause
# ruff: noqa: RUF009 (spec() is dataclasses.field() with a declaration)
"""A whole FDL file: services of OSCAR, functions of SCAR, and the access that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .containers import ListOf, MapOf, Record
from .forms import OWN_STORE, provider_id
from .model import SERVICE, Service
from .normalise import normalise, without_own_store
from .problem import MISSING, FdlError, FdlProblem, join, make_problem, relocate, under
from .reader import Reader
from .rules import Rule, check_members, validate, warnings_of
from .stores import CLUSTERS, STORAGE_PROVIDERS
from .table import Kind, spec
from .textfile import OutsideError

ReadScript = Callable[[str], str]


class _ByCluster(MapOf):
    """The services of one entry of the list, by cluster id."""

    def read(self, reader: Any, value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping) and any(isinstance(value.get(name), str) for name in ("name", "image", "script")):
            reader.report(
                value, "has no cluster id above the service", "write '- <cluster id>:' and indent the fields below it"
            )
            return {}
        return super().read(reader, value)


class _Lambda(Kind):
    """A function of SCAR, kept as it is."""

    label = "a mapping with lambda"
    sensitive = True

    def read(self, reader: Any, value: Any) -> Any:
        if not isinstance(value, Mapping):
            reader.wrong_type(self, value)
            return {}
        if not isinstance(value.get("lambda"), Mapping) or not isinstance(value["lambda"].get("name"), str):
            reader.report(value, "has no lambda with a name", "give lambda.name")
        return value

    def schema(self) -> dict[str, Any]:
        name = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
        return {"type": "object", "required": ["lambda"], "properties": {"lambda": name}}


@dataclass(frozen=True)
class Functions:
    """What the file declares."""

    oscar: tuple[Mapping[str, Service], ...] = spec(
        ListOf(_ByCluster(SERVICE)), (), "2.0", "Services, each below the id of its cluster."
    )
    aws: tuple[Mapping[str, Any], ...] = spec(
        ListOf(_Lambda()), (), "2.0", "Functions of SCAR on AWS Lambda; kept, but not deployed by this server."
    )


@dataclass(frozen=True)
class FdlFile:
    """A file in the Functions Definition Language."""

    functions: Functions = spec(Record(Functions), Functions(), "2.0", "Services and functions.", required=True)
    storage_providers: Mapping[str, Any] = spec(
        STORAGE_PROVIDERS, {}, "2.0", "Access to stores; given to the services that name them."
    )
    clusters: Mapping[str, Any] = spec(
        CLUSTERS, {}, "2.5", "Access to other clusters; given to the services that name them."
    )


FILE = Record(FdlFile)


@dataclass(frozen=True)
class Fdl:
    """What a file declares.

    aws: SCAR's functions as they stand. remarks: what has no effect here. places: the path of each service.
    """

    services: tuple[Service, ...]
    aws: tuple[Mapping[str, Any], ...] = field(repr=False)
    remarks: tuple[FdlProblem, ...]
    places: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The remarks as sentences."""
        return tuple(f"{remark.path} {remark.message}" for remark in self.remarks)


def parse_fdl(
    data: Any,
    read_script: ReadScript | None = None,
    providers: Sequence[str] = (OWN_STORE,),
    rules: Sequence[Rule] = (),
    launcher: str = "",
) -> Fdl:
    """The services of a file that was read as plain data. Raises FdlError with all problems of the file.

    read_script: gives the content of the script at a path, and may raise OSError or UnicodeDecodeError; a ``script`` of
    several lines is taken as content. Without it every script is content. providers, rules: as in ``parse_service``;
    launcher: as in ``warnings_of``.
    """
    if not isinstance(data, Mapping):
        hint = "give functions, storage_providers and clusters"
        raise FdlError([make_problem("document", data, "is not a mapping", hint)])
    reader = Reader()
    file = FdlFile(**reader.record(FILE.table, data))
    known = (*providers, *(f"{kind}.{name}" for kind, group in file.storage_providers.items() for name in group))
    later = list(_check_file(file))
    services = []
    for place, service in _services(file):
        if read_script is not None:
            service, problems = _with_script(service, read_script)
            later.extend(relocate(problem, place) for problem in problems)
        later.extend(relocate(problem, place) for problem in validate(service, known, file.clusters, rules))
        services.append((place, service))
    problems = [*reader.problems, *reader.unreported(later)]
    if problems:
        raise FdlError(problems)
    complete = tuple(normalise(_with_access(service, file)) for _place, service in services)
    remarks = tuple(FdlProblem(path, None, text, "") for path, text in _warnings(file, services, launcher))
    return Fdl(complete, file.functions.aws, remarks, tuple(place for place, _service in services))


def script_places(data: Any) -> Iterator[tuple[str, str]]:
    """Return path and value of each field ``script`` that names a file, whatever else is wrong with the data."""
    functions = data.get("functions") if isinstance(data, Mapping) else None
    entries = functions.get("oscar") if isinstance(functions, Mapping) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        for cluster, service in entry.items() if isinstance(entry, Mapping) else ():
            script = service.get("script") if isinstance(service, Mapping) else None
            if isinstance(script, str) and script and "\n" not in script:
                yield join(join(f"functions.oscar[{index}]", cluster), "script"), script


def _services(file: FdlFile) -> Iterator[tuple[str, Service]]:
    """Each service with its place; the cluster id above it is its own unless it has one."""
    for index, entry in enumerate(file.functions.oscar):
        for cluster, service in entry.items():
            yield join(f"functions.oscar[{index}]", cluster), replace(service, cluster_id=service.cluster_id or cluster)


def _check_file(file: FdlFile) -> Iterator[FdlProblem]:
    shared = without_own_store(file.storage_providers)
    yield from check_members(FILE, replace(file, functions=Functions(), storage_providers=shared))
    if not file.functions.oscar and not file.functions.aws:
        yield make_problem("functions.oscar", MISSING, "is required", "give a list of services")
    first: dict[str, str] = {}
    for place, service in _services(file):
        if service.name and first.setdefault(service.name, place) != place:
            text = f"is also the name of {first[service.name]}"
            yield make_problem(f"{place}.name", service.name, text, "give each service a name of its own")


def _with_script(service: Service, read_script: ReadScript) -> tuple[Service, list[FdlProblem]]:
    path = service.script
    if not path or "\n" in path:
        return service, []
    try:
        return replace(service, script=read_script(path)), []
    except FileNotFoundError:
        text, hint = "is not there", "give a path relative to the file, or an absolute one"
    except UnicodeDecodeError:
        text, hint = "is not text in UTF-8", "give a shell script"
    except OutsideError:
        text, hint = "lies outside the folder of the FDL file", "name its folder in script_folders, or move it"
    except OSError as error:
        text, hint = f"cannot be read ({error.strerror or error})", "give the path of a readable file"
    return service, [make_problem("script", path, text, hint)]


def _with_access(service: Service, file: FdlFile) -> Service:
    """The service with the shared access that it names, and no other, so that secrets do not spread."""
    providers = {kind: dict(group) for kind, group in service.storage_providers.items()}
    for kind, name in _named_providers(service):
        shared = file.storage_providers.get(kind, {}).get(name)
        if shared is not None:
            providers.setdefault(kind, {}).setdefault(name, shared)
    named = _named_clusters(service)
    clusters = {**{name: access for name, access in file.clusters.items() if name in named}, **service.clusters}
    order = STORAGE_PROVIDERS.table.names
    return replace(
        service, storage_providers={kind: providers[kind] for kind in order if kind in providers}, clusters=clusters
    )


def _named_providers(service: Service) -> Iterator[tuple[str, str]]:
    for place in (*service.input, *service.output, *((service.mount,) if service.mount else ())):
        kind, _dot, name = provider_id(place.storage_provider).partition(".")
        yield kind, name


def _named_clusters(service: Service) -> set[str]:
    return {replica.cluster_id for replica in service.federation.members} if service.federation else set()


def _warnings(file: FdlFile, services: Sequence[tuple[str, Service]], launcher: str) -> Iterator[tuple[str, str]]:
    """Places, and what has no effect there."""
    for place, service in services:
        yield from ((under(place, path), text) for path, text in warnings_of(service, launcher))
    for index, function in enumerate(file.functions.aws):
        text = f"({function['lambda']['name']}) is kept, but not deployed by this server"
        yield f"functions.aws[{index}]", text
    providers = {pair for _place, service in services for pair in _named_providers(service)}
    for kind, group in file.storage_providers.items():
        for name in group:
            if f"{kind}.{name}" == OWN_STORE:
                yield f"storage_providers.{OWN_STORE}", "has no effect: it is the server's own store"
            elif (kind, name) not in providers:
                yield f"storage_providers.{kind}.{name}", "has no effect: no service names it"
    clusters = {name for _place, service in services for name in _named_clusters(service)}
    for name in file.clusters:
        if name not in clusters:
            yield join("clusters", name), "has no effect: no service names it"
