# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: a plan of the server as what Ansible shows with ``--diff``, and plans made without it.

A plan is a list of items as ``POST /v2/services:apply`` answers them: name, action, after, changes, revision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ._fdl import Change, Service, diff_documents, parse_fdl, parse_service, to_document


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


def _leaves(changes: Iterable[Mapping[str, Any]], side: str) -> str:
    return "".join(_leaf(change["path"], change[side]) for change in changes if change[side] is not None)


def _leaf(place: str, value: Any) -> str:
    """One leaf as YAML would show it. Text of several lines (a script) is a block, so that its lines are compared."""
    if not isinstance(value, str):
        return f"{place}: {json.dumps(value, sort_keys=True)}\n"
    if "\n" in value:
        return f"{place}: |\n" + "".join(f"  {line}\n" for line in value.splitlines())
    return f"{place}: {value if value and value == value.strip() else json.dumps(value)}\n"


def plan_item(name: str, action: str, after: Mapping[str, Any] | None, changes: Iterable[Change]) -> dict[str, Any]:
    """An item in the form of the server's."""
    leaves = [{"path": change.path, "before": change.before, "after": change.after} for change in changes]
    return {"name": name, "action": action, "after": after, "changes": leaves, "revision": ""}


def services_of(body: Mapping[str, Any]) -> tuple[Service, ...]:
    """The services of a request to ``:apply``; it was validated before."""
    if "fdl" in body:
        return parse_fdl(body["fdl"]).services
    return tuple(parse_service(document, f"services[{index}]") for index, document in enumerate(body["services"]))


def first_plan(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a server that holds no service would answer: all is created, and nothing is there to be removed."""
    if body["state"] == "absent":
        plan = [plan_item(name, "absent", None, ()) for name in body["names"]]
    else:
        plan = [_creation(service) for service in services_of(body)]
    return {"changed": body["state"] == "present", "plan": plan, "warnings": []}


def _creation(service: Service) -> dict[str, Any]:
    changes = diff_documents(None, to_document(service))
    return plan_item(service.name, "create", to_document(service, secrets=False), changes)
