# SPDX-License-Identifier: BSD-2-Clause
"""What is wrong with a document: places, values and hints, without ever showing a secret."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Union

HIDDEN = "hidden"
"""Stands for every secret value in problems, plans, diffs and documents."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a problem about something that is not there."""

Part = Union[str, int]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SECRET_NAME = re.compile(r"secret|token|passw|credential|private|auth|key", re.IGNORECASE)
_USER_IN_URL = re.compile(r"//[^/@\s]*@")
_TYPE_NAMES = {str: "text", bool: "a boolean", int: "a number", float: "a number", type(None): "nothing"}
_LONGEST_SHOWN = 80
_LONGEST_INT = 64  # bits; beyond, JSON and str() have limits


@dataclass(frozen=True)
class FdlProblem:
    """One thing that is wrong.

    path: the place, e.g. ``functions.oscar[1].grayify.memory``. value: what stands there: a scalar, None when it is
    missing, ``hidden`` for secrets, or a description of a list or mapping. message: what is wrong. hint: what is right.
    file, line, column: where the field is in the text that was read, from 1; "" and 0 when there is none.
    """

    path: str
    value: Any
    message: str
    hint: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: " if self.file and self.line else ""
        return f"{where}{self.path}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class FdlError(Exception):
    """A document cannot be used; ``problems`` holds all that is wrong with it."""

    def __init__(self, problems: Iterable[FdlProblem]) -> None:
        self.problems: tuple[FdlProblem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def make_problem(path: str, value: Any, text: str, hint: str = "", secret: bool = False) -> FdlProblem:
    """A problem whose message is the value followed by ``text``, e.g. "'2 GB' is not a memory quantity"."""
    if value is MISSING:
        return FdlProblem(path, None, f"{_last(path)} {text}", hint)
    if secret:
        return FdlProblem(path, HIDDEN, f"the value {text}", hint)
    shown = _shown(value)
    subject = repr(shown) if _is_scalar(value) else "the value"
    return FdlProblem(path, shown, f"{subject} {text}", hint)


def join(path: str, part: Part) -> str:
    """The place of a member: ``a.b``, ``a[0]``, or ``a["x.y"]`` when the name itself would be ambiguous."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    name = str(part)  # documents that were kept as they are may have other keys
    if not _PLAIN_KEY.fullmatch(name):
        return f'{path}["{printable(name)}"]'
    return f"{path}.{name}" if path else name


def printable(name: str) -> str:
    """Return a name as it can be shown on a terminal: control characters and the like are escaped."""
    return name if name.isprintable() else repr(name)[1:-1]


def relocate(problem: FdlProblem, place: str) -> FdlProblem:
    """The same problem with its place under ``place``."""
    return replace(problem, path=under(place, problem.path))


def under(place: str, path: str) -> str:
    """A relative place below another place."""
    if not path:
        return place
    return f"{place}{path}" if path.startswith("[") else f"{place}.{path}"


def is_below(path: str, ancestor: str) -> bool:
    """Whether a place is the given one or lies inside it."""
    return path == ancestor or (path.startswith(ancestor) and path[len(ancestor)] in ".[")


def type_name(value: Any) -> str:
    """The type of a plain value in words."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")


def looks_secret(name: str) -> bool:
    """Whether the value of a field that we do not know may be a secret, judged by its name."""
    return bool(_SECRET_NAME.search(name))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, bool, int, float))


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        value = _USER_IN_URL.sub(f"//{HIDDEN}@", value)
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        return value[: _LONGEST_SHOWN - 3] + "..."
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        return "a very large number"
    return value if _is_scalar(value) else type_name(value)


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]
