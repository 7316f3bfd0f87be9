# SPDX-License-Identifier: BSD-2-Clause
"""One service document: read, checked and normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .forms import OWN_STORE
from .model import SERVICE, Service
from .normalise import normalise
from .problem import FdlError, FdlProblem, relocate, under
from .reader import Reader
from .rules import Rule, validate, warnings_of


def parse_service(
    data: Mapping[str, Any],
    place: str = "service",
    strict: bool = True,
    providers: Sequence[str] = (OWN_STORE,),
    rules: Sequence[Rule] = (),
) -> Service:
    """The service that one document of the API describes (``script`` is the content).

    place: what places in problems start with. strict: unknown fields and null are problems; else unknown fields are
    kept in ``extra``, null and zero values mean "not given", and upper and lower case of names are the same.
    providers: stores that need not be declared. rules: further checks, e.g. of the filter. Raises FdlError.
    """
    service, _warnings = read_service(data, place, strict, providers, rules)
    return service


def read_service(
    data: Mapping[str, Any],
    place: str = "service",
    strict: bool = True,
    providers: Sequence[str] = (OWN_STORE,),
    rules: Sequence[Rule] = (),
    launcher: str = "",
) -> tuple[Service, tuple[str, ...]]:
    """Like ``parse_service``, and what has no effect on this server, one sentence each."""
    reader = Reader(keep_unknown=not strict, zeros=not strict)
    service, problems = check_service(reader, data, providers, rules)
    if problems:
        raise FdlError(relocate(problem, place) for problem in problems)
    warnings = tuple(f"{under(place, path)} {text}" for path, text in warnings_of(service, launcher))
    return normalise(service), warnings


def check_service(
    reader: Reader, data: Any, providers: Sequence[str], rules: Sequence[Rule]
) -> tuple[Service, list[FdlProblem]]:
    """A service as it is written, and all that is wrong with it, with places relative to it."""
    if not isinstance(data, Mapping):
        reader.wrong_type(SERVICE, data)
        return Service(), reader.problems
    service = Service(**reader.record(SERVICE.table, data), extra=reader.extra)
    return service, [*reader.problems, *reader.unreported(validate(service, providers, rules=rules))]
