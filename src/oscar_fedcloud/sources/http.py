# SPDX-License-Identifier: Apache-2.0
"""Bodies that start a service by HTTP: storage events in any dialect, or data that becomes an input file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from oscar_fedcloud.jsontext import to_json
from oscar_fedcloud.model import BadEvent, Provider, StorageEvent, Via
from oscar_fedcloud.providers.dialects import Dialect, Parsed, unwrap
from oscar_fedcloud.providers.records import event_of


def storage_events(parsed: Iterable[Parsed], providers: Mapping[str, Provider]) -> list[StorageEvent]:
    """The events that a body tells of, without data. Blocks: an object is looked up where its event says too little.

    Raises BadEvent for a provider that is not configured and for an object that is not there; ProviderError.
    """
    return [_event(item, providers) for item in parsed if item.dialect is not Dialect.UNKNOWN]


def payload(body: bytes) -> tuple[bytes, Mapping[str, str]]:
    """The input file that a body stands for, base64 decoded as clients send it, and an API gateway's query."""
    parsed = unwrap(body)
    if len(parsed) == 1 and parsed[0].dialect is Dialect.UNKNOWN:
        return parsed[0].data, parsed[0].query
    return body, {}


def _event(item: Parsed, providers: Mapping[str, Provider]) -> StorageEvent:
    provider = providers.get(item.provider)
    if provider is None:
        raise BadEvent(f"the event is of storage provider {item.provider}, which is not configured here")
    if item.dialect is Dialect.MINIO and not getattr(provider, "polled", True):
        try:
            event = event_of(item.provider, to_json(item.record), Via.HTTP)
        except ValueError:
            event = None  # written by hand, without a sequencer
        if event is not None:
            return event
    found = provider.stat(item.bucket, item.key)
    if found is None:
        raise BadEvent(f"{item.bucket}/{item.key} does not exist at storage provider {item.provider}")
    return replace(found, via=Via.HTTP, time=item.time or found.time, record=to_json(item.record))
