# SPDX-License-Identifier: BSD-2-Clause
"""The one form of a valid service, whatever way it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from .forms import OWN_STORE, full_path, provider_id
from .model import Service
from .parts import Input, Mount, Output

SERVICE_LABEL = "oscar_service"
_Io = TypeVar("_Io", Input, Output, Mount)


def normalise(service: Service) -> Service:
    """Full provider ids, paths with their bucket, Unix line ends, no access to the server's own store. Idempotent."""
    return replace(
        service,
        input=tuple([_place(service.name, place) for place in service.input]),
        output=tuple([_place(service.name, place) for place in service.output]),
        mount=service.mount and _place(service.name, service.mount),
        script=normalise_script(service.script),
        labels=_own_labels(service),
        storage_providers=without_own_store(service.storage_providers),
    )


def normalise_script(script: str) -> str:
    """A script without byte order mark and with Unix line ends."""
    return script.lstrip("\ufeff").replace("\r\n", "\n")


def without_own_store(providers: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Clients send back what they were shown of the server's own store; it is not theirs to set."""
    kind, _dot, name = OWN_STORE.partition(".")
    if name not in providers.get(kind, {}):
        return providers
    others = {other: access for other, access in providers[kind].items() if other != name}
    kept = {**providers, kind: others}
    return {key: value for key, value in kept.items() if value}


def _own_labels(service: Service) -> Mapping[str, str]:
    """The labels without the one that OSCAR's answers add, so that an answer can be sent back."""
    if service.labels.get(SERVICE_LABEL) != service.name:
        return service.labels
    return {name: value for name, value in service.labels.items() if name != SERVICE_LABEL}


def _place(service: str, place: _Io) -> _Io:
    provider = provider_id(place.storage_provider)
    path = full_path(service, provider, place.path)
    if provider == place.storage_provider and path == place.path:
        return place
    return replace(place, storage_provider=provider, path=path)
