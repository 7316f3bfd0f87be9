# SPDX-License-Identifier: Apache-2.0
"""Generates the OpenAPI 3.1 document from the route table and the types it refers to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from oscar_fedcloud.api.routing import TEXT, Parameter, Route
from oscar_fedcloud.server.problems import PROBLEM, Problem

_REFERENCE = "#/components/schemas/{name}"
_IDEMPOTENCY = Parameter("Idempotency-Key", "the same request sent again is answered again", place="header")
_SECURITY: Mapping[str, list[dict[str, list[str]]]] = {
    "read": [{"admin": []}],
    "write": [{"admin": []}],
    "start": [{"admin": []}, {"service": []}],
}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """Return the whole document."""
    routes = tuple(routes)
    types = {kind for route in routes for kind in (route.answer, route.request) if _is_struct(kind)} | {Problem}
    ordered = sorted(types, key=lambda kind: str(kind.__name__))
    _, components = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "OSCAR for FedCloud", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "admin": {"type": "http", "scheme": "basic"},
                "service": {"type": "http", "scheme": "bearer", "description": "token of the service that is started"},
                "monitor": {"type": "http", "scheme": "bearer", "description": "token that reads figures"},
            },
        },
    }


def operation(route: Route) -> dict[str, Any]:
    """Return one operation."""
    shown: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.template}").rstrip("_"),
        "summary": route.summary,
        "description": route.handler.__doc__ or "",
        "tags": ["v2" if route.own else "service" if route.kind == "public" else "oscar"],
        "security": _security(route),
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.request is not None:
        content = _content(route.request)
        if route.yaml:
            content["application/yaml"] = content["application/json"]
        shown["requestBody"] = {"content": content}
    return shown


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.kind == "public":
        return []
    return [{"admin": []}, {"monitor": []}] if route.kind == "figures" else _SECURITY[route.action]


def _parameters(route: Route) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", route.template)
    shown = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    given = (*route.parameters, _IDEMPOTENCY) if route.method == "POST" else route.parameters
    for one in given:
        shown.append({"name": one.name, "in": one.place, "description": one.meaning, "schema": {"type": one.type}})
    return shown


def _responses(route: Route) -> dict[str, Any]:
    success: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        success["content"] = _content(route.answer)
    shown = {str(route.status): success}
    refusals = () if route.kind == "public" else (401, 403)
    for status in sorted({*route.errors, *refusals}):
        shown[str(status)] = {"description": HTTPStatus(status).phrase}
        if status == 201:
            shown["201"]["content"] = success["content"]
        elif status >= 400 and not (status == 503 and route.kind == "public"):
            shown[str(status)]["content"] = _content(Problem if route.own else TEXT)
    return shown


def _content(kind: Any) -> dict[str, Any]:
    """Return the media type of a request or response body, with its schema."""
    if isinstance(kind, str):
        return {kind: {"schema": {"type": "string"}} if kind == TEXT else {}}
    if _is_struct(kind):
        media = PROBLEM if kind is Problem else "application/json"
        return {media: {"schema": {"$ref": _REFERENCE.format(name=kind.__name__)}}}
    return {"application/json": {"schema": {"type": "array" if kind is list else "object"}}}


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
