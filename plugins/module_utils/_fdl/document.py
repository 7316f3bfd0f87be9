# SPDX-License-Identifier: BSD-2-Clause
"""Services as plain data: OSCAR's JSON names in the order of its Go structs, so that its clients can read them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .hiding import hide, restore
from .model import SERVICE, Service
from .problem import HIDDEN, FdlError, relocate
from .reader import Reader

_SENSITIVE = tuple(field for field in SERVICE.table.fields if field.kind.sensitive)


def to_document(service: Service, secrets: bool = True) -> dict[str, Any]:
    """The normalised document with all defaults; without ``secrets`` their values are ``hidden``."""
    document = SERVICE.dump(service)
    if service.extra:
        _merge(document, copy.deepcopy(service.extra))
    return document if secrets else hide(document)


def from_document(document: Mapping[str, Any]) -> Service:
    """The service of a document made by ``to_document``; it is trusted, only types are looked at (FdlError)."""
    reader = Reader(keep_unknown=True)
    values = reader.record(SERVICE.table, document)
    if reader.problems:
        raise FdlError(reader.problems)
    return Service(**values, extra=reader.extra)


def keep_secrets(service: Service, before: Service | None, place: str = "service") -> Service:
    """The service with the values of ``before`` for secrets that came ``hidden``, and for the token if it came empty.

    Raises FdlError when a secret is hidden and there is no earlier value. A hidden token without one becomes empty.
    """
    if service.token in ("", HIDDEN):
        service = replace(service, token=before.token if before is not None else "")
    if not _holds_hidden([field.kind.dump(getattr(service, field.name)) for field in _SENSITIVE]) and not service.extra:
        return service
    restored, problems = restore(to_document(service), to_document(before) if before is not None else {})
    if problems:
        raise FdlError(relocate(problem, place) for problem in problems)
    return from_document(restored)


def _holds_hidden(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return any(_holds_hidden(member) for member in (value.values() if isinstance(value, dict) else value))
    return bool(value == HIDDEN)


def _merge(target: Any, extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(target, list):
            _merge(target[int(key)], value)
        elif isinstance(target.get(key), (dict, list)):
            _merge(target[key], value)
        else:
            target[key] = value
