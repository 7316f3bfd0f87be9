# SPDX-License-Identifier: Apache-2.0
"""Stores that a service declares in its FDL (``storage_providers``), in addition to those of the site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.fdl import USABLE_TYPES, FdlProblem, Service, make_problem, provider_type
from oscar_fedcloud.storage.endpoints import HostAndScheme
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.registry import make_provider

_AMAZON = "https://s3.{region}.amazonaws.com"


def settings_of(service: Service, provider_id: str) -> ProviderConfig | None:
    """Return the settings of a store that the service declares, or None if it does not or the type is unsupported.

    Such a store is polled even if it is a MinIO, because the site does not manage its webhooks.
    """
    kind, _, name = provider_id.partition(".")
    given: Mapping[str, Any] | None = service.storage_providers.get(kind, {}).get(name)
    if given is None or kind not in ("minio", "s3"):
        return None
    region = given.get("region") or "us-east-1"
    return ProviderConfig(
        type="s3",
        endpoint=given.get("endpoint") or _AMAZON.format(region=region),
        region=region,
        access_key=given["access_key"],
        secret_key=given["secret_key"],
        verify=given.get("verify", True),
    )


def moved(before: Service, after: Service) -> set[str]:
    """Return the ids of the service's own stores whose endpoint changes."""
    names = {source.storage_provider for source in after.input}
    return {name for name in names if _endpoint(before, name) not in ("", _endpoint(after, name))}


def _endpoint(service: Service, provider_id: str) -> str:
    settings = settings_of(service, provider_id)
    return settings.endpoint if settings else ""


def foreign_provider(service: Service, provider_id: str) -> ObjectStore:
    """Create the store that a service declares under this id. Raises KeyError."""
    settings = settings_of(service, provider_id)
    if settings is None:
        raise KeyError(provider_id)
    return make_provider(provider_id, settings)


def problems(
    service: Service, place: str, configured: Iterable[str], others: Iterable[Service]
) -> Iterator[FdlProblem]:
    """Yield the problems of the stores that a service names, with regard to this site and its other services.

    Inputs are matched by store, bucket and prefix over all services, so one id must mean one store.
    """
    site = set(configured)
    for number, target in enumerate(service.output):
        if target.storage_provider not in site and settings_of(service, target.storage_provider) is None:
            yield _unusable(f"{place}.output[{number}].storage_provider", target.storage_provider, site)
    for number, source in enumerate(service.input):
        where, provider_id = f"{place}.input[{number}].storage_provider", source.storage_provider
        if provider_id in site:
            continue
        settings = settings_of(service, provider_id)
        if settings is None:
            yield _unusable(where, provider_id, site)
        elif problem := _endpoint_problem(settings):
            yield make_problem(where, settings.endpoint, problem, "give http(s)://host[:port]")
        elif rival := _rival(service.name, provider_id, settings, others):
            hint = "give the store another id in storage_providers"
            yield make_problem(where, provider_id, f"is declared with other settings by service {rival}", hint)


def _endpoint_problem(settings: ProviderConfig) -> str:
    try:
        HostAndScheme.of(settings.endpoint)
    except ValueError:
        return "is no endpoint of a store"
    return ""


def _unusable(place: str, provider_id: str, site: set[str]) -> FdlProblem:
    hint = f"use {', '.join(sorted(site))}, or declare a minio or s3 store in storage_providers"
    text = "is no store that this server can use"
    if provider_type(provider_id) not in USABLE_TYPES:
        text = "is not usable on this server version"
    return make_problem(place, provider_id, text, hint)


def _rival(name: str, provider_id: str, settings: ProviderConfig, others: Iterable[Service]) -> str | None:
    for other in others:
        reads = other.name != name and any(source.storage_provider == provider_id for source in other.input)
        if reads and settings_of(other, provider_id) != settings:
            return other.name
    return None
