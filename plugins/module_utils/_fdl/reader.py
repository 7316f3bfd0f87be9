# SPDX-License-Identifier: BSD-2-Clause
"""Reads plain data into typed values by the field table, and collects everything that has the wrong shape."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .problem import HIDDEN, FdlProblem, Part, is_below, join, looks_secret, make_problem, printable, type_name
from .table import Kind, Spec, Table

_MOST_NAMED = 12


class Reader:
    """One pass over one document.

    keep_unknown: fields that are not in the table go to ``extra`` instead of being a problem.
    zeros: null, and the zero values that clients in Go send for what was not set, mean "not given".
    """

    def __init__(self, keep_unknown: bool = False, zeros: bool = False) -> None:
        self.keep_unknown = keep_unknown
        self.zeros = zeros
        self.problems: list[FdlProblem] = []
        self.extra: dict[str, Any] = {}
        self.renamed: dict[str, str] = {}  # place in the table's names -> place as it is written
        self._parts: list[Part] = []
        self._secret = False

    def record(self, table: Table, data: Mapping[Any, Any]) -> dict[str, Any]:
        """The typed values of the fields that are given."""
        if table.moved and not table.moved.keys().isdisjoint(data):
            data = self._move(table, data)
        values: dict[str, Any] = {}
        names = table.names
        for key, value in data.items():
            spec = names.get(key) or self._other_spelling(table, key, data)
            if spec is None:
                self._unknown(table, key, value)
                continue
            if spec.name in values:
                self._report_at(key, value, "is given twice, in two spellings", "give one", spec.secret)
                continue
            if spec.name != key:
                self.renamed[self.place(spec.name)] = self.place(key)
            self._parts.append(key)
            values[spec.name] = self._field(spec, value)
            self._parts.pop()
        return values

    def member(self, part: Part, spec: Spec, value: Any) -> Any:
        """The typed value of one member of a list or mapping."""
        self._parts.append(part)
        member = self._field(spec, value)
        self._parts.pop()
        return member

    def wrong_type(self, kind: Kind, value: Any, hint: str = "") -> None:
        """Report a value of the wrong type at the current place."""
        secret = self._secret or kind.sensitive
        self.report(value, f"is {type_name(value)}, but must be {kind.label}", hint or f"give {kind.label}", secret)

    def report(self, value: Any, text: str, hint: str, secret: bool = False) -> None:
        """Report a problem at the current place."""
        self.problems.append(make_problem(self.place(), value, text, hint, secret or self._secret))

    def unreported(self, problems: Iterable[FdlProblem]) -> list[FdlProblem]:
        """Later problems at the places as written, without those that only follow from what could not be read."""
        broken = [problem.path for problem in self.problems]
        fresh = [problem for problem in problems if not any(is_below(problem.path, path) for path in broken)]
        return [self._as_written(problem) for problem in fresh]

    def _as_written(self, problem: FdlProblem) -> FdlProblem:
        for name, written in self.renamed.items():
            if is_below(problem.path, name):
                return replace(problem, path=written + problem.path[len(name) :])
        return problem

    def place(self, part: Part | None = None) -> str:
        """The current place, or that of a member of it."""
        path = ""
        for step in self._parts if part is None else [*self._parts, part]:
            path = join(path, step)
        return path

    def _field(self, spec: Spec, value: Any) -> Any:
        if value is None:
            if not self.zeros:
                self.report(None, "is empty", f"give {spec.kind.label}, or leave it out")
            return _default(spec)
        if self.zeros and _is_zero(value) and _rejects(spec, value):
            return _default(spec)
        outer, self._secret = self._secret, self._secret or spec.secret
        read = spec.kind.read(self, value)
        self._secret = outer
        return read

    def _move(self, table: Table, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Old fields at the place where they stand now."""
        moved = {key: value for key, value in data.items() if key not in table.moved}
        for old, (outer, inner) in table.moved.items():
            value = data.get(old)
            if value is None or (self.zeros and _is_zero(value)):
                continue
            group = moved.get(outer) or {}
            if not isinstance(group, Mapping):
                continue
            if group.get(inner, value) != value:
                self._report_at(old, value, f"contradicts {outer}.{inner}, which is the same field", "give one", False)
            moved[outer] = {inner: value, **group}
            self.renamed[join(self.place(outer), inner)] = self.place(old)
        return moved

    def _other_spelling(self, table: Table, key: Any, data: Mapping[Any, Any]) -> Spec | None:
        if not self.zeros or not isinstance(key, str):
            return None
        spec = table.folded.get(key.lower())
        return None if spec is not None and spec.name in data else spec

    def _unknown(self, table: Table, key: Any, value: Any) -> None:
        if key in table.ignored:
            return
        if not isinstance(key, str):
            self._report_at(str(key), value, "is not a field name", "put names in quotes", True)
        elif self.keep_unknown:
            self._keep(key, value)
        else:
            near = nearest(key, table.names)
            secret = self._secret or table.private or looks_secret(key) or bool(near and table.names[near].secret)
            hint = f"did you mean {near}?" if near else _known(table)
            self.problems.append(
                FdlProblem(self.place(key), _described(value, secret), f"{printable(key)} is not a known field", hint)
            )

    def _keep(self, key: str, value: Any) -> None:
        group = self.extra
        for part in self._parts:
            group = group.setdefault(str(part), {})
        group[key] = value

    def _report_at(self, part: Part, value: Any, text: str, hint: str, secret: bool) -> None:
        self.problems.append(make_problem(self.place(part), value, text, hint, secret or self._secret))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that a misspelt one most likely stands for, or ""."""
    lowered = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.7)
    return lowered[found[0]] if found else ""


def _known(table: Table) -> str:
    if len(table.fields) > _MOST_NAMED:
        return f"leave it out, or see the fields of {table.name} in docs/fdl.md"
    return "known here are " + ", ".join(field.name for field in table.fields)


def _described(value: Any, secret: bool) -> Any:
    return HIDDEN if secret else make_problem("", value, "").value


def _default(spec: Spec) -> Any:
    """What stands for a value that is not given; members of lists and mappings have no default."""
    return spec.default if spec.name else spec.kind.empty()


def _is_zero(value: Any) -> bool:
    """Whether a client in Go would send this for something that was not set."""
    return not any(value.values()) if isinstance(value, Mapping) else not value


def _rejects(spec: Spec, value: Any) -> bool:
    """Whether a zero value cannot be meant as it stands: a struct of zeros, or what the type refuses."""
    if isinstance(value, Mapping):
        return spec.kind.struct
    probe = Reader(zeros=True)
    read = spec.kind.read(probe, value)
    return bool(probe.problems) or spec.kind.check(read) is not None
