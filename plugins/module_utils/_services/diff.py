# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: a plan of the server as what Ansible shows with ``--diff``."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

_EMPTY: tuple[Any, ...] = (None, "", [], {})
_COSTS = ("memory", "cpu")
_OF_SERVER = ("token", "owner")  # fields that the server fills in
_NOTHING = object()


def diff_of(plan: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The diff of a plan: one part for each service that changes, with the leaves that change and no others."""
    return [
        {
            "before_header": f"service {item['name']}",
            "after_header": f"service {item['name']}",
            "before": _leaves(item["changes"], "before"),
            "after": _leaves(item["changes"], "after"),
        }
        for item in plan
        if item["changes"]
    ]


def told_by_user(plan: Iterable[Mapping[str, Any]], body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plan without the defaults of services that come or go, of which only what somebody chose is of interest.

    body: the request to ``:apply``, which has what the user wrote. Of a service that goes, what is no default counts.
    """
    given = _given(body)
    shown = []
    for item in plan:
        side = {"create": "after", "delete": "before"}.get(item["action"])
        changes = item["changes"]
        if side and changes:
            changes = [one for one in changes if _chosen(one["path"], one[side], given.get(item["name"]) or ())]
        shown.append({**item, "changes": changes})
    return shown


def _given(body: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """The leaves that the user wrote, by the name of the service. Case does not count in names of fields."""
    documents = list(body.get("services") or ())
    functions = (body.get("fdl") or {}).get("functions") or {}
    for entry in functions.get("oscar") or ():
        documents += [one for one in entry.values() if isinstance(one, Mapping)]
    return {str(one.get("name")): frozenset(place.lower() for place in _places(one, "")) for one in documents}


def _places(value: Any, place: str) -> Iterator[str]:
    """The places of all leaves of a document."""
    from .._fdl.problem import join  # only here, since a target compiles it for each task

    members: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        members = value.items()
    elif isinstance(value, (list, tuple)):
        members = enumerate(value)
    if not members:
        yield place
    for part, inner in members:
        yield from _places(inner, join(place, part))


def _chosen(place: str, value: Any, given: Collection[str]) -> bool:
    """Whether a leaf is of interest: it was written, it says what a job costs, or it is no default.

    Short forms, such as a number for ``retry``, are written at a place above their leaves.
    """
    if place in _COSTS or place.lower() in given:
        return True
    if given and not any(place.lower().startswith((f"{one}.", f"{one}[")) for one in given):
        return False
    return _field(place) not in _OF_SERVER and value not in _EMPTY and value != _defaults().get(place, _NOTHING)


def _field(place: str) -> str:
    return re.split(r"[.\[]", place, maxsplit=1)[0]


@lru_cache(maxsize=None)
def _defaults() -> dict[str, Any]:
    """The leaves of a service of which only what must be given is given."""
    from .._fdl import diff_documents, parse_service, to_document  # only here, since a target compiles it for each task

    plain = parse_service({"name": "x", "image": "x", "script": "x\n"})
    return {change.path: change.after for change in diff_documents(None, to_document(plain))}


def _leaves(changes: Iterable[Mapping[str, Any]], side: str) -> str:
    return "".join(_leaf(change["path"], change[side]) for change in changes if change[side] is not None)


def _leaf(place: str, value: Any) -> str:
    """One leaf as YAML would show it. Text of several lines (a script) is a block, so that its lines are compared."""
    if not isinstance(value, str):
        return f"{place}: {json.dumps(value, sort_keys=True)}\n"
    if "\n" in value:
        return f"{place}: |\n" + "".join(f"  {line}\n" for line in value.splitlines())
    return f"{place}: {value if value and value == value.strip() else json.dumps(value)}\n"
