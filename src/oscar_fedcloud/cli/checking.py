# SPDX-License-Identifier: Apache-2.0
"""Checks FDL files without a server, and by the plan of a server. Nothing is printed here."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oscar_fedcloud.catalogue.matching import filter_rule
from oscar_fedcloud.fdl import (
    FDL_NAMES,
    FILE,
    LARGEST_FDL,
    Fdl,
    FdlError,
    FdlProblem,
    Service,
    Source,
    fdl_files,
    find_loops,
    is_outside,
    loop_problem,
    parse_fdl,
    read_file,
    read_script,
    resolve,
    script_places,
    to_document,
    unusable_stores,
)
from oscar_fedcloud.fdl_text import read_source

STDIN = "-"
_SENT = re.compile(r"services\[(\d+)\]")


class CheckError(Exception):
    """What was asked cannot be done; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What there is to say of an FDL file.

    name: of the file, as in messages. fdl: what it declares, None when there are problems. problems, warnings: with
    line and column.
    """

    name: str
    fdl: Fdl | None
    problems: tuple[FdlProblem, ...] = ()
    warnings: tuple[FdlProblem, ...] = ()
    source: Source | None = field(default=None, repr=False)

    @property
    def services(self) -> tuple[Service, ...]:
        """The services that the file declares, none when there are problems."""
        return self.fdl.services if self.fdl else ()


def check(path: Path, any_store: bool = False) -> CheckResult:
    """Check one FDL file (``-`` is standard input) with the scripts that it names. Raises CommandError.

    any_store: take stores that no server of this version can use, since a server will be asked.
    """
    return _with_loops([_check_file(path, any_store)])[0]


def check_all(path: Path, any_store: bool = False) -> list[CheckResult]:
    """Check one FDL file, or all in a folder and below it, with the loops through several. Raises CommandError."""
    if str(path) == STDIN or not path.is_dir():
        return [check(path, any_store)]
    try:
        files = fdl_files(path)
    except OSError as error:
        raise CheckError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not files:
        raise CheckError(f"the folder {path} holds no FDL file; name its FDL files {FDL_NAMES}")
    return _with_loops(_with_other_names([_check_in_folder(Path(file), any_store) for file in files]))


def warning_line(warning: FdlProblem) -> str:
    """Return a warning as one line, with its place in the form that editors understand."""
    return f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.path} {warning.message}"


def documents(verdicts: Iterable[CheckResult]) -> list[dict[str, Any]]:
    """Return the documents of all services, with scripts in place, as ``POST /v2/services:apply`` takes them."""
    return [to_document(service) for verdict in verdicts for service in verdict.services]


def with_answer(
    verdicts: Sequence[CheckResult], errors: Iterable[Mapping[str, Any]], warnings: Iterable[str]
) -> list[CheckResult]:
    """Return the verdicts with what a server said of ``documents``, at the places in the files.

    errors: those of its problem details. warnings: those of its plan.
    """
    places = [(number, place) for number, verdict in enumerate(verdicts) if verdict.fdl for place in verdict.fdl.places]
    told = [FdlProblem(e["path"], e.get("value"), e["message"], e.get("hint", "")) for e in errors]
    hints = [FdlProblem(*_split(text)) for text in warnings]
    result = list(verdicts)
    for problem, is_problem in [*((one, True) for one in told), *((one, False) for one in hints)]:
        found = _SENT.match(problem.path)
        number, place = places[int(found[1])] if found and int(found[1]) < len(places) else (0, "")
        path = place + problem.path[found.end() :] if found else problem.path
        result[number] = _with(result[number], replace(problem, path=path), is_problem)
    return result


def _split(warning: str) -> tuple[str, None, str, str]:
    """A warning of a plan as place and text; one without a place is about the whole document."""
    place, _, text = warning.partition(" ")
    return (place, None, text, "") if _SENT.match(place) else ("functions.oscar", None, warning, "")


def _with(verdict: CheckResult, problem: FdlProblem, is_problem: bool) -> CheckResult:
    if verdict.source is not None:
        (problem,) = verdict.source.placed([problem])
    if is_problem:
        return replace(verdict, fdl=None, problems=(*verdict.problems, problem))
    known = any((one.path, one.message) == (problem.path, problem.message) for one in verdict.warnings)
    return verdict if known else replace(verdict, warnings=(*verdict.warnings, problem))


def _check_file(path: Path, any_store: bool) -> CheckResult:
    name = "<stdin>" if str(path) == STDIN else str(path)
    try:
        content = _stdin() if str(path) == STDIN else read_file(path, LARGEST_FDL)
    except OSError as error:
        hint = "; give a file, or - for standard input" if error.errno == errno.EINVAL else ""
        raise CheckError(f"{path} cannot be read: {error.strerror}{hint}") from error
    return _check_text(name, path, content, any_store)


def _stdin() -> bytes:
    content = sys.stdin.buffer.read(LARGEST_FDL + 1)
    if len(content) > LARGEST_FDL:
        raise OSError(0, f"it is larger than {LARGEST_FDL} bytes")
    return content


def _check_in_folder(path: Path, any_store: bool) -> CheckResult:
    try:
        return _check_file(path, any_store)
    except CheckError as error:
        return CheckResult(str(path), None, (FdlProblem("document", None, str(error), "", str(path), 1, 1),))


def _check_text(name: str, path: Path, content: bytes, any_store: bool) -> CheckResult:
    try:
        source = read_source(content, name)
    except FdlError as error:
        return CheckResult(name, None, error.problems)
    data = resolve(FILE, source.data)
    warnings = source.placed(_outside(path, data))
    rules = (filter_rule,) if any_store else (filter_rule, unusable_stores)
    try:
        fdl = parse_fdl(data, lambda script: read_script(path, script), rules=rules)
    except FdlError as error:
        problems = sorted(source.placed(error.problems), key=lambda problem: (problem.line, problem.column))
        return CheckResult(name, None, tuple(problems), tuple(warnings), source)
    return CheckResult(name, fdl, (), tuple(source.placed(fdl.remarks) + warnings), source)


def _outside(path: Path, data: Any) -> Iterator[FdlProblem]:
    text = "lies outside the folder of the FDL file: the module reads it only if script_folders names its folder"
    for place, script in script_places(data):
        if is_outside(path, script):
            yield FdlProblem(place, script, text, "")


def _with_other_names(verdicts: Sequence[CheckResult]) -> list[CheckResult]:
    """The verdicts with the services that another file declares, too."""
    first: dict[str, str] = {}
    result = []
    for verdict in verdicts:
        after = verdict
        for place, service in _placed_services(verdict):
            other = first.setdefault(service.name, verdict.name)
            if other != verdict.name:
                text = f"{service.name!r} is also declared in {other}"
                hint = "give each service a name of its own"
                after = _with(after, FdlProblem(f"{place}.name", service.name, text, hint), True)
        result.append(after)
    return result


def _placed_services(verdict: CheckResult) -> list[tuple[str, Service]]:
    return list(zip(verdict.fdl.places, verdict.fdl.services, strict=True)) if verdict.fdl else []


def _with_loops(verdicts: Sequence[CheckResult]) -> list[CheckResult]:
    """The verdicts with the endless loops through the services of all files, each told where it begins."""
    homes = {
        service.name: (number, place)
        for number, verdict in enumerate(verdicts)
        for place, service in _placed_services(verdict)
    }
    result = list(verdicts)
    for loop in find_loops([service for verdict in verdicts for service in verdict.services]):
        number, place = homes[loop.services[0]]
        result[number] = _with(result[number], loop_problem(loop, place), not loop.breakable)
    return result
