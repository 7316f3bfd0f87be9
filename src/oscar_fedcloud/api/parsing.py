# SPDX-License-Identifier: Apache-2.0
"""Parses service documents in requests and checks them against this server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from oscar_fedcloud.catalogue.rules import Rule, document_rules
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.fdl import SERVICE, Fdl, FdlError, Service, Source, parse_fdl, read_service, resolve

_OF_CHANGE = re.compile(r"services\[(\d+)\]")  # what the catalogue calls the services of a change


def read(
    invoker: Invoker, document: Mapping[str, Any], place: str = "service", strict: bool = True
) -> tuple[Service, tuple[str, ...]]:
    """Return a service and its warnings. Raises FdlError with places under ``place``."""
    return read_service(document, place, strict, tuple(invoker.stores), _rules(invoker), invoker.config.launcher.kind)


def read_fdl(invoker: Invoker, document: Mapping[str, Any]) -> Fdl:
    """Return a whole FDL document whose scripts are given as content. Raises FdlError."""
    return parse_fdl(
        document, providers=tuple(invoker.stores), rules=_rules(invoker), launcher=invoker.config.launcher.kind
    )


def _rules(invoker: Invoker) -> tuple[Rule, ...]:
    return document_rules(invoker.config.callback_networks)


def service_document(source: Source) -> dict[str, Any]:
    """Return the document of one service as plain data."""
    document: dict[str, Any] = resolve(SERVICE, source.data)
    return document


@contextmanager
def placing(source: Source, below: Callable[[str], str] = str, services: Callable[[int], str] = str) -> Iterator[None]:
    """Add to the problems of an FdlError the line and column of their fields in the request.

    Args:
        services: returns the path of a service of the change, by number.
        below: returns the path in the source for the path of a problem.
    """
    try:
        yield
    except FdlError as error:
        problems = []
        for problem in error.problems:
            found = _OF_CHANGE.match(problem.path)
            path = services(int(found[1])) + problem.path[found.end() :] if found else problem.path
            line, column = source.locate(below(path))
            problems.append(replace(problem, path=path, line=line, column=column))
        raise FdlError(problems) from None


@contextmanager
def placing_service(source: Source) -> Iterator[None]:
    """Add lines and columns for a request that is one service, called ``service`` in problems."""
    with placing(source, lambda path: path.removeprefix("service").removeprefix("."), lambda _number: "service"):
        yield
