# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: declaring services at an existing OSCAR server, which has no ``/v2``.

Such a server makes no plan, so it is made here from what ``GET /system/services/{name}`` says. It never tells secrets,
so a service with secrets is always sent again, which counts as a change. It deletes the buckets of a service with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .._api.client import ApiError, Client, OscarError, path
from .._fdl import Change, diff_documents, parse_service, to_document
from .plan import plan_item, services_of

SERVICES = "/system/services"
# Maps to which the server adds entries of its own.
SHARED = ("labels", "annotations", "storage_providers", "clusters")
# Fields of this collection that such a server ignores, and therefore never tells.
OURS = ("retry", "timeout", "concurrency", "filter", "callback")
OURS_IN_INPUT = re.compile(r"input\[\d+\]\.existing")
# Where the normalised document keeps what older files write elsewhere.
RENAMED = {"replicas": "federation", "delegation": "federation", "rescheduler_threshold": "federation"}


def is_oscar(client: Client) -> bool:
    """Whether an existing OSCAR answers at this endpoint."""
    try:
        return "version" in (client.get("/system/info") or {})
    except OscarError:
        return False


def apply(client: Client, body: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Do what ``POST /v2/services:apply`` would do, and answer as it does. Raises OscarError."""
    if body["state"] == "absent":
        plan = [_removal(client, name, body["data"]) for name in body["names"]]
        requests = [("DELETE", path("system", "services", item["name"]), None) for item in plan if item["changes"]]
    else:
        documents = {document["name"]: document for document in sent_documents(body)}
        plan = [_declaration(client, document) for document in documents.values()]
        methods = {"create": "POST", "update": "PUT"}
        requests = [(methods[i["action"]], SERVICES, documents[i["name"]]) for i in plan if i["changes"]]
    if not check_mode:
        for method, where, document in requests:
            _send(client, method, where, document)
    return {"changed": bool(requests), "plan": plan, "warnings": list(_warnings(body))}


def sent_documents(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The document of each service as existing clients send it: as written, with what the FDL says outside of it."""
    if "services" in body:
        yield from body["services"]
        return
    fdl = body["fdl"]
    for item in fdl["functions"]["oscar"]:
        for cluster, service in item.items():
            document = {"cluster_id": cluster, **service}
            for name in ("storage_providers", "clusters"):
                if fdl.get(name):
                    document[name] = {**fdl[name], **(service.get(name) or {})}
            yield document


def _current(client: Client, name: str) -> Any:
    try:
        return client.get(path("system", "services", name))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def _normalised(document: Mapping[str, Any]) -> dict[str, Any]:
    return to_document(parse_service(document, strict=False))


def _declaration(client: Client, document: Mapping[str, Any]) -> dict[str, Any]:
    wanted = _normalised(document)
    after = to_document(parse_service(document, strict=False), secrets=False)
    current = _current(client, document["name"])
    if current is None:
        return plan_item(document["name"], "create", after, diff_documents(None, wanted))
    declared = {RENAMED.get(field.lower(), field.lower()) for field in document}
    changes = [c for c in diff_documents(_normalised(current), wanted) if _counts(c, declared)]
    return plan_item(document["name"], "update" if changes else "unchanged", after, changes)


def _counts(change: Change, declared: set[str]) -> bool:
    """Whether a difference is the user's wish: the server fills what was not declared, and adds to some maps."""
    field = re.split(r"[.\[]", change.path, maxsplit=1)[0]
    ignored = field in OURS or OURS_IN_INPUT.fullmatch(change.path)
    return field in declared and not ignored and not (field in SHARED and change.after is None)


def _removal(client: Client, name: str, data: str) -> dict[str, Any]:
    current = _current(client, name)
    if current is None:
        return plan_item(name, "absent", None, ())
    if data != "delete":
        raise OscarError(
            f"service {name} is not removed: the server at {client.endpoint} is an existing OSCAR, which deletes "
            "the buckets of a service with it; if that is meant, set data to delete"
        )
    return plan_item(name, "delete", None, diff_documents(_normalised(current), None))


def _send(client: Client, method: str, where: str, document: Mapping[str, Any] | None) -> None:
    data = b"" if document is None else json.dumps(document).encode("utf-8")
    with client.open(method, where, data, headers={"Content-Type": "application/json"}) as response:
        response.read()


def _warnings(body: Mapping[str, Any]) -> Iterator[str]:
    if body["state"] == "absent":
        return
    for service, document in zip(services_of(body), sent_documents(body)):
        for field in sorted(set(OURS) & set(document)):
            yield f"service {service.name}: {field} has no effect on an existing OSCAR server"
        if any(source.suffix or source.prefix or source.existing == "process" for source in service.input):
            yield f"service {service.name}: an existing OSCAR server ignores suffix, prefix and existing of inputs"
