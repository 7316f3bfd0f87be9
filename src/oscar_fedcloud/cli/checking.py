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
    """The check cannot be made; the message gives the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of checking an FDL file.

    Attributes:
        name: the name of the file, as in messages.
        fdl: the declared services, None if there are problems.
        problems: with line and column.
        warnings: with line and column.
    """

    name: str
    fdl: Fdl | None
    problems: tuple[FdlProblem, ...] = ()
    warnings: tuple[FdlProblem, ...] = ()
    source: Source | None = field(default=None, repr=False)

    @property
    def services(self) -> tuple[Service, ...]:
        """The services that the file declares; none if there are problems."""
        return self.fdl.services if self.fdl else ()


def check(path: Path, any_store: bool = False) -> CheckResult:
    """Check one FDL file (``-`` is standard input) with the scripts that it names. Raises CommandError.

    Args:
        any_store: accept stores that no server of this version can use, since a server will be asked.
    """
    return _with_loops([_check_file(path, any_store)])[0]


def check_all(path: Path, any_store: bool = False) -> list[CheckResult]:
    """Check one FDL file, or all in a folder and below it, including loops across files. Raises CommandError."""
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
    """Return a warning as one line, with its place in the format that editors understand."""
    return f"{warning.file}:{warning.line}:{warning.column}: warning: {warning.path} {warning.message}"


def documents(results: Iterable[CheckResult]) -> list[dict[str, Any]]:
    """Return the documents of all services, with scripts inserted, as for ``POST /v2/services:apply``."""
    return [to_document(service) for checked in results for service in checked.services]


def with_answer(
    results: Sequence[CheckResult], errors: Iterable[Mapping[str, Any]], warnings: Iterable[str]
) -> list[CheckResult]:
    """Return the results with a server's problems with ``documents``, at the places in the files.

    Args:
        errors: those of its problem details.
        warnings: those of its plan.
    """
    places = [(number, place) for number, checked in enumerate(results) if checked.fdl for place in checked.fdl.places]
    told = [FdlProblem(e["path"], e.get("value"), e["message"], e.get("hint", "")) for e in errors]
    hints = [FdlProblem(*_split(text)) for text in warnings]
    result = list(results)
    for problem, is_problem in [*((one, True) for one in told), *((one, False) for one in hints)]:
        found = _SENT.match(problem.path)
        number, place = places[int(found[1])] if found and int(found[1]) < len(places) else (0, "")
        path = place + problem.path[found.end() :] if found else problem.path
        result[number] = _with(result[number], replace(problem, path=path), is_problem)
    return result


def _split(warning: str) -> tuple[str, None, str, str]:
    """Return a warning of a plan as place and text; one without a place concerns the whole document."""
    place, _, text = warning.partition(" ")
    return (place, None, text, "") if _SENT.match(place) else ("functions.oscar", None, warning, "")


def _with(checked: CheckResult, problem: FdlProblem, is_problem: bool) -> CheckResult:
    if checked.source is not None:
        (problem,) = checked.source.placed([problem])
    if is_problem:
        return replace(checked, fdl=None, problems=(*checked.problems, problem))
    known = any((one.path, one.message) == (problem.path, problem.message) for one in checked.warnings)
    return checked if known else replace(checked, warnings=(*checked.warnings, problem))


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


def _with_other_names(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results with problems for services that another file declares too."""
    first: dict[str, str] = {}
    result = []
    for checked in results:
        after = checked
        for place, service in _placed_services(checked):
            other = first.setdefault(service.name, checked.name)
            if other != checked.name:
                text = f"{service.name!r} is also declared in {other}"
                hint = "give each service a name of its own"
                after = _with(after, FdlProblem(f"{place}.name", service.name, text, hint), True)
        result.append(after)
    return result


def _placed_services(checked: CheckResult) -> list[tuple[str, Service]]:
    return list(zip(checked.fdl.places, checked.fdl.services, strict=True)) if checked.fdl else []


def _with_loops(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results with the endless loops across all files, each reported at its beginning."""
    homes = {
        service.name: (number, place)
        for number, checked in enumerate(results)
        for place, service in _placed_services(checked)
    }
    result = list(results)
    for loop in find_loops([service for checked in results for service in checked.services]):
        number, place = homes[loop.services[0]]
        result[number] = _with(result[number], loop_problem(loop, place), not loop.breakable)
    return result
