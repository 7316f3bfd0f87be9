# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: plans that are made without the server.

A plan is a list of items as ``POST /v2/services:apply`` answers them: name, action, after, changes, revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._fdl import Change, Service, diff_documents, parse_fdl, parse_service, to_document


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
