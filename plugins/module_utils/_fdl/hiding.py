# SPDX-License-Identifier: BSD-2-Clause
"""Secrets of documents: which leaves they are, hiding them, and putting back those that come hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model import SERVICE
from .problem import HIDDEN, FdlProblem, Part, join, looks_secret, make_problem
from .table import Kind


def step(kind: Kind | None, part: Part, secret: bool) -> tuple[Kind | None, bool]:
    """The type of a member, and whether it is secret. Fields that we do not know are judged by their name."""
    spec = kind.member(part) if kind is not None else None
    if spec is None:
        return None, secret or looks_secret(str(part))
    return spec.kind, secret or spec.secret


def hide(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a service document in which every secret value that is set is ``hidden``."""
    hidden: dict[str, Any] = _hide(SERVICE, document, False)
    return hidden


def restore(document: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[dict[str, Any], list[FdlProblem]]:
    """A copy in which each ``hidden`` secret has the value that ``before`` has there, and the secrets that it has not.

    This lets a client send back a document as it was shown.
    """
    problems: list[FdlProblem] = []
    restored: dict[str, Any] = _restore(SERVICE, document, before, False, "", problems)
    return restored, problems


def _hide(kind: Kind | None, value: Any, secret: bool) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide(inner, member, hidden) for key, member, inner, hidden in _steps(kind, value.items(), secret)}
    if isinstance(value, (list, tuple)):
        return [_hide(inner, member, hidden) for _at, member, inner, hidden in _steps(kind, enumerate(value), secret)]
    return HIDDEN if secret and value not in ("", None) else value


def _steps(kind: Kind | None, members: Any, secret: bool) -> list[tuple[Any, Any, Kind | None, bool]]:
    return [(part, member, *step(kind, part, secret)) for part, member in members]


def _restore(kind: Kind | None, value: Any, before: Any, secret: bool, path: str, problems: list[FdlProblem]) -> Any:
    if isinstance(value, Mapping):
        old = before if isinstance(before, Mapping) else {}
        return {
            key: _restore(inner, member, old.get(key), hidden, join(path, key), problems)
            for key, member, inner, hidden in _steps(kind, value.items(), secret)
        }
    if isinstance(value, (list, tuple)):
        former = list(before) if isinstance(before, (list, tuple)) else []
        former += [None] * len(value)
        return [
            _restore(inner, member, former[index], hidden, join(path, index), problems)
            for index, member, inner, hidden in _steps(kind, enumerate(value), secret)
        ]
    if not secret or value != HIDDEN:
        return value
    if isinstance(before, str) and before:
        return before
    problems.append(
        make_problem(path, value, "is hidden, and the server has none to keep", "give the value", secret=True)
    )
    return value
