# SPDX-License-Identifier: BSD-2-Clause
"""The difference of two documents, leaf by leaf, without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .hiding import step
from .model import SERVICE
from .problem import HIDDEN, join
from .table import Kind

_ABSENT: Any = object()


@dataclass(frozen=True)
class Change:
    """One leaf that differs: its place, and its values (None where it is not there; secrets are ``hidden``)."""

    path: str
    before: Any
    after: Any


def diff_documents(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Change]:
    """What changes from one normalised document to another; None is a service that does not exist.

    Members of lists are compared by index, and a script is one leaf. A secret that changes reads ``hidden (changed)``.
    """
    left = _ABSENT if before is None else before
    right = _ABSENT if after is None else after
    return list(_changes(SERVICE, left, right, False, ""))


def _changes(kind: Kind | None, left: Any, right: Any, secret: bool, path: str) -> Iterator[Change]:
    if left is right or left == right:
        return
    parts = _parts(left, right)
    for part, one, other in parts:
        inner, hidden = step(kind, part, secret)
        yield from _changes(inner, one, other, hidden, join(path, part))
    if not parts:
        yield _leaf(left, right, secret, path)


def _parts(left: Any, right: Any) -> list[tuple[Any, Any, Any]]:
    """The members of two containers of the same sort, or of one when the other is absent."""
    present = [value for value in (left, right) if value is not _ABSENT]
    if all(isinstance(value, Mapping) for value in present):
        one, other = ({} if value is _ABSENT else value for value in (left, right))
        return [(key, one.get(key, _ABSENT), other.get(key, _ABSENT)) for key in {**one, **other}]
    if all(isinstance(value, (list, tuple)) for value in present):
        first, second = ([] if value is _ABSENT else list(value) for value in (left, right))
        length = max(len(first), len(second))
        first += [_ABSENT] * (length - len(first))
        second += [_ABSENT] * (length - len(second))
        return [(index, first[index], second[index]) for index in range(length)]
    return []


def _leaf(left: Any, right: Any, secret: bool, path: str) -> Change:
    before = None if left is _ABSENT else left
    after = None if right is _ABSENT else right
    if not secret:
        return Change(path, before, after)
    return Change(
        path,
        HIDDEN if before else before,
        f"{HIDDEN} (changed)" if before and after else HIDDEN if after else after,
    )
