# SPDX-License-Identifier: BSD-2-Clause
"""What a service must fulfil beyond the types of its fields, and what of it has no effect here."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Union

from .forms import (
    BUCKET_TYPES,
    OWN_STORE,
    PROVIDER_TYPES,
    STORAGE_PROVIDER,
    StoragePath,
    check_bucket,
    full_path,
    provider_id,
    provider_type,
)
from .model import SERVICE, Service
from .normalise import without_own_store
from .parts import Input, Kserve, Mount, Output, Replica
from .problem import MISSING, FdlProblem, join, make_problem
from .reader import nearest
from .table import Kind

Rule = Callable[[Service], Iterable[FdlProblem]]
"""A further check, with places relative to the service: ``make_problem("filter", value, "is not …", "use …")``."""

USABLE_TYPES = ("minio", "s3")
"""Types of stores that servers of this version can use."""

LARGEST_ENVIRONMENT = 127 * 1024
"""Bytes of all variables and secrets of a service with their names. Linux starts no process with a variable of more
than 128 KiB, of which the runner needs a little; a Kubernetes object, which holds the script too, has 1 MiB in all."""

LONGEST_VARIABLE = 255
"""Characters of the name of a variable."""

LARGEST_ANNOTATIONS = 128 * 1024
"""Bytes of the annotations of a service with their names; Kubernetes allows a Job twice that with all others."""

_REFERENCE = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\}|\([A-Za-z_][A-Za-z0-9_]*\))")

SET_BY_SERVER = frozenset(
    (
        "INPUT_FILE_PATH",
        "TMP_INPUT_DIR",
        "TMP_OUTPUT_DIR",
        "STORAGE_OBJECT_KEY",
        "EVENT",
        "EVENT_TIME",
        "JOB_UUID",
        "RESOURCE_ID",
    )
)
"""Environment variables that every job gets; also all that start with ``OSCAR_``."""


def validate(
    service: Service,
    providers: Collection[str] = (OWN_STORE,),
    clusters: Collection[str] = (),
    rules: Sequence[Rule] = (),
) -> list[FdlProblem]:
    """All that is wrong with a service as it is written. providers, clusters: those that need not be declared in it."""
    shared = without_own_store(service.storage_providers)
    if shared is not service.storage_providers:
        service = replace(service, storage_providers=shared)
    problems = check_members(SERVICE, service)
    problems.extend(_check_places(service, providers))
    problems.extend(_check_federation(service, clusters))
    for rule in (*_RULES, *rules):
        problems.extend(rule(service))
    return problems


def unusable_stores(service: Service) -> Iterator[FdlProblem]:
    """The stores that a service names and that no server of this version can use, whatever its settings."""
    for group in ("input", "output"):
        for index, entry in enumerate(getattr(service, group)):
            kind = provider_type(entry.storage_provider)
            if kind in PROVIDER_TYPES and kind not in USABLE_TYPES:
                hint = f"use a store of type {' or '.join(USABLE_TYPES)}"
                place = f"{group}[{index}].storage_provider"
                yield make_problem(place, entry.storage_provider, "is not usable on this server version", hint)


def warnings_of(service: Service, launcher: str = "") -> Iterator[tuple[str, str]]:
    """What is set but has no effect on this server: place and the rest of the sentence.

    launcher: the server's kind of launcher; "" is unknown, so that fields for a certain one are not named.
    """
    for field in SERVICE.table.fields:
        without = not field.effect or (launcher and field.effect not in (True, launcher))
        if without and getattr(service, field.name) != field.default:
            yield field.name, "has no effect on this server"
    kind, _dot, name = OWN_STORE.partition(".")
    if name in service.storage_providers.get(kind, {}):
        yield f"storage_providers.{OWN_STORE}", "has no effect: it is the server's own store"
    for group in ("variables", "secrets"):
        for variable in getattr(service.environment, group):
            if variable in SET_BY_SERVER or variable.startswith("OSCAR_"):
                yield f"environment.{group}.{variable}", "has no effect: the server sets it for each job"
    for variable, value in service.environment.variables.items():
        reference = _REFERENCE.search(value)
        if reference:
            text = f"is taken as it is written: {reference.group()} in it is not replaced by a value"
            yield f"environment.variables.{variable}", text


def check_members(kind: Kind, value: Any, path: str = "", secret: bool = False) -> list[FdlProblem]:
    """What is wrong with the members of a container, and inside them, each by its own type."""
    problems: list[FdlProblem] = []
    for part, spec, member in kind.children(value):
        if spec.name and not spec.required and (member is spec.default or member == spec.default):
            continue
        place = join(path, part)
        if not spec.name and isinstance(part, str):
            found = kind.check_name(part)
            if found:
                problems.append(make_problem(place, part, *found))
        if spec.required and not member:
            problems.append(make_problem(place, MISSING, "is required", f"give {spec.kind.label}"))
            continue
        found = spec.kind.check(member)
        if found:
            problems.append(make_problem(place, member, *found, secret or spec.secret))
        elif spec.kind.container:
            problems.extend(check_members(spec.kind, member, place, secret or spec.secret))
    return problems


def _check_places(service: Service, providers: Collection[str]) -> Iterator[FdlProblem]:
    """Declared providers and allowed buckets."""
    known = {*providers}
    known.update(f"{kind}.{name}" for kind, group in service.storage_providers.items() for name in group)
    places: list[tuple[str, Union[Input, Output, Mount]]] = []
    places += [(f"input[{index}]", entry) for index, entry in enumerate(service.input)]
    places += [(f"output[{index}]", entry) for index, entry in enumerate(service.output)]
    places += [("mount", service.mount)] if service.mount else []
    for place, entry in places:
        provider = provider_id(entry.storage_provider)
        if STORAGE_PROVIDER.check(entry.storage_provider):
            continue
        if provider not in known:
            yield _unknown_name(
                f"{place}.storage_provider", entry.storage_provider, "a declared storage provider", known
            )
        yield from _check_bucket(service, provider, f"{place}.path", entry.path)


def _check_bucket(service: Service, provider: str, place: str, path: str) -> Iterator[FdlProblem]:
    if provider_type(provider) not in BUCKET_TYPES or StoragePath().check(path):
        return
    full = full_path(service.name, provider, path)
    if full != path and SERVICE.table.names["name"].kind.check(service.name):
        return
    found = check_bucket(full.partition("/")[0])
    if found:
        yield make_problem(place, path, *found)


def _unknown_name(place: str, value: str, what: str, known: Collection[str]) -> FdlProblem:
    near = nearest(value, known)
    hint = f"did you mean {near}?" if near else "known here are " + ", ".join(sorted(known)) if known else "declare it"
    return make_problem(place, value, f"is not {what}", hint)


def _check_script(service: Service) -> Iterator[FdlProblem]:
    if service.script and not service.script.strip("\ufeff \t\r\n"):
        yield make_problem("script", MISSING, "has only white space", "give a shell script")


def _check_environment(service: Service) -> Iterator[FdlProblem]:
    """Names given once, and no more than a process can be started with."""
    size = 0
    for group in ("variables", "secrets"):
        for name, value in getattr(service.environment, group).items():
            size += len(name) + len(value.encode("utf-8", "surrogatepass")) + 2  # '=' and the NUL at the end
            if len(name) > LONGEST_VARIABLE:
                text, hint = f"has a name of {len(name)} characters", f"use at most {LONGEST_VARIABLE}"
                yield FdlProblem(f"environment.{group}.{name}", None, f"the variable {text}", hint)
    if size > LARGEST_ENVIRONMENT:
        hint = f"use at most {LARGEST_ENVIRONMENT}, and files in a store or in the image for what is larger"
        text = f"variables and secrets have {size} bytes together"
        yield FdlProblem("environment", None, text, hint)
    for name in service.environment.secrets:
        if name in service.environment.variables:
            yield make_problem(f"environment.variables.{name}", name, "is also a secret", "give it once")


def _check_annotations(service: Service) -> Iterator[FdlProblem]:
    size = sum(len(name) + len(value.encode("utf-8", "surrogatepass")) for name, value in service.annotations.items())
    if size > LARGEST_ANNOTATIONS:
        yield FdlProblem("annotations", None, f"annotations have {size} bytes", f"use at most {LARGEST_ANNOTATIONS}")


def _check_scales(service: Service) -> Iterator[FdlProblem]:
    groups: list[tuple[str, Any]] = [
        ("synchronous", service.synchronous),
        ("expose", service.expose),
        ("kserve", service.kserve),
    ]
    for name, group in groups:
        if group and group.max_scale and group.min_scale > group.max_scale:
            yield make_problem(
                f"{name}.min_scale", group.min_scale, "is more than max_scale", f"use at most {group.max_scale}"
            )


def _check_ports(service: Service) -> Iterator[FdlProblem]:
    ports, nodes = service.expose.api_port, service.expose.nodePort
    if nodes and len(nodes) != len(ports):
        yield make_problem(
            "expose.nodePort",
            list(nodes),
            f"has {len(nodes)} ports, but api_port has {len(ports)}",
            "give one for each",
        )


def _check_retry(service: Service) -> Iterator[FdlProblem]:
    retry = service.retry
    if retry.backoff > retry.backoff_max:
        yield make_problem(
            "retry.backoff", retry.backoff, "is longer than backoff_max", f"use at most {retry.backoff_max:g}"
        )


def _check_federation(service: Service, clusters: Collection[str]) -> Iterator[FdlProblem]:
    known = {*clusters, *service.clusters}
    for index, replica in enumerate(service.federation.members if service.federation else ()):
        yield from _check_replica(f"federation.members[{index}]", replica, known)


def _check_replica(place: str, replica: Replica, clusters: Collection[str]) -> Iterator[FdlProblem]:
    if replica.type == "endpoint":
        if not replica.url:
            yield make_problem(f"{place}.url", MISSING, "is required with type endpoint", "give an http or https URL")
        return
    if not replica.service_name:
        yield make_problem(f"{place}.service_name", MISSING, "is required with type oscar", "give a service name")
    if not replica.cluster_id:
        yield make_problem(f"{place}.cluster_id", MISSING, "is required with type oscar", "give a key of clusters")
    elif replica.cluster_id not in clusters:
        yield _unknown_name(f"{place}.cluster_id", replica.cluster_id, "a declared cluster", clusters)


def _check_volume(service: Service) -> Iterator[FdlProblem]:
    if service.volume and not service.volume.name and not service.volume.size:
        yield make_problem(
            "volume.size", MISSING, "is required for a new volume", "give a size, or the name of a volume"
        )


def _check_kserve(service: Service) -> Iterator[FdlProblem]:
    model: Kserve | None = service.kserve
    if model is None:
        return
    if model.type == "inference":
        if model.inference is None:
            yield make_problem("kserve.inference", MISSING, "is required with type inference", "give its model_format")
        if model.llm_inference is not None:
            yield make_problem("kserve.llm_inference", {}, "does not belong to type inference", "leave it out")
    if model.type == "llm_inference":
        if model.inference is not None:
            yield make_problem("kserve.inference", {}, "does not belong to type llm_inference", "leave it out")
        if model.min_scale < 1:
            yield make_problem(
                "kserve.min_scale", model.min_scale, "is too few with type llm_inference", "use at least 1"
            )


_RULES: tuple[Rule, ...] = (
    _check_script,
    _check_environment,
    _check_annotations,
    _check_scales,
    _check_ports,
    _check_retry,
    _check_volume,
    _check_kserve,
)
