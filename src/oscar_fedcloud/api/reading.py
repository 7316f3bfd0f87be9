# SPDX-License-Identifier: Apache-2.0
"""Service documents of requests, checked against what this server has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from oscar_fedcloud.api.core import Core
from oscar_fedcloud.catalogue.matching import filter_problem
from oscar_fedcloud.fdl import Fdl, FdlProblem, Service, parse_fdl, read_service


def read(
    core: Core, document: Mapping[str, Any], place: str = "service", strict: bool = True
) -> tuple[Service, tuple[str, ...]]:
    """A service and the warnings about it. Raises FdlError with places under ``place``."""
    return read_service(document, place, strict, tuple(core.providers), (_filter_rule,))


def read_fdl(core: Core, document: Mapping[str, Any]) -> Fdl:
    """A whole FDL document in which scripts stand as content. Raises FdlError."""
    return parse_fdl(document, providers=tuple(core.providers), rules=(_filter_rule,))


def _filter_rule(service: Service) -> Iterator[FdlProblem]:
    if problem := filter_problem(service, ""):
        yield replace(problem, path="filter")
