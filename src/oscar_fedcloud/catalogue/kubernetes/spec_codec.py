# SPDX-License-Identifier: Apache-2.0
"""Service documents as stored in an ``OscarService``: without secrets and default values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oscar_fedcloud.catalogue.rules import Rule
from oscar_fedcloud.fdl import FdlError, Service, hide, keep_secrets, make_problem, read_service
from oscar_fedcloud.fdl.containers import ListOf, MapOf, Maybe, Record
from oscar_fedcloud.fdl.hiding import restore
from oscar_fedcloud.fdl.model import SERVICE
from oscar_fedcloud.fdl.table import Kind

PLACE = "spec"  # what places in problems start with
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # the whole manifest again, secrets and all
_ELSEWHERE = ("name", "token")  # the object's own name; made by the server


def spec_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as stored in its object: secrets hidden, defaults left out, only fields of the FDL."""
    spec: dict[str, Any] = _sparse(SERVICE, hide(document))
    return {name: value for name, value in spec.items() if name not in _ELSEWHERE}


def _sparse(kind: Kind, value: Any) -> Any:
    """Return plain data of this kind without the record fields that have their default."""
    match kind:
        case Maybe():
            return None if value is None else _sparse(kind.kind, value)
        case Record():
            return {
                field.name: _sparse(field.kind, value[field.name])
                for field in kind.table.fields
                if field.name in value and (field.required or value[field.name] != field.kind.dump(field.default))
            }
        case ListOf():
            return [_sparse(kind.kind, member) for member in value]
        case MapOf():
            return {name: _sparse(kind.kind, member) for name, member in value.items()}
        case _:
            return value


def read_spec(
    name: str,
    spec: Mapping[str, Any],
    before: Service | None,
    refused: Mapping[str, Any],
    providers: Sequence[str],
    rules: Sequence[Rule] = (),
) -> Service:
    """Return the service that an object describes. Raises FdlError, with places under ``spec``.

    Args:
        before: the last valid revision of the service.
        refused: the document that was rejected last, with its secrets. Both supply the values of hidden fields.
        rules: see ``document_rules``.
    """
    if spec.get("name", name) != name:
        raise FdlError([make_problem(f"{PLACE}.name", spec["name"], f"differs from {name!r}, the object's name")])
    given, _missing = restore(spec, refused)
    service, _warnings = read_service({**given, "name": name}, PLACE, True, providers, rules)
    if before is not None:
        service = replace(service, extra=_unknown_fields(before))
    return keep_secrets(service, before, PLACE)


def _unknown_fields(service: Service) -> dict[str, Any]:
    """Return fields that only clients of the existing OSCAR use. They are not in the object, and are kept unchanged."""
    return {name: value for name, value in service.extra.items() if name not in SERVICE.table.names}


def refused_document(spec: Mapping[str, Any], refused: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rejected document for storage: hidden values are taken from the document that was rejected before."""
    return restore(spec, refused)[0]


def without_secrets(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the object with its secrets hidden, also in kubectl's copy; None if it contains none."""
    metadata = manifest["metadata"]
    spec, notes = hide(manifest["spec"]), _without_secrets(metadata.get("annotations") or {})
    if spec == manifest["spec"] and notes == (metadata.get("annotations") or {}):
        return None
    return {**manifest, "metadata": {**metadata, "annotations": notes}, "spec": spec}


def _without_secrets(annotations: Mapping[str, str]) -> dict[str, str]:
    applied = annotations.get(_APPLIED)
    if applied is None:
        return dict(annotations)
    others = {name: value for name, value in annotations.items() if name != _APPLIED}
    try:
        manifest = json.loads(applied)
        hidden = {**manifest, "spec": hide(manifest["spec"])}
    except (ValueError, TypeError, KeyError, AttributeError):
        return others
    return {**others, _APPLIED: applied if hidden == manifest else json.dumps(hidden, separators=(",", ":")) + "\n"}
