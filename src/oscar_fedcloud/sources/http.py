# SPDX-License-Identifier: Apache-2.0
"""Bodies that start a service by HTTP: storage events in any format, or data that becomes an input file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from oscar_fedcloud.domain.events import BadEvent, EventTooLarge, Origin, StorageEvent
from oscar_fedcloud.domain.jsontext import to_json
from oscar_fedcloud.sources.dialects import Dialect, Parsed, unwrap
from oscar_fedcloud.storage.bounds import LONGEST_RECORD, checked_bucket, checked_key, checked_name
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.s3_events import event_of

_MOST_EVENTS = 1000  # in one body
_SHOWN = 100  # characters


def storage_events(parsed: Iterable[Parsed], providers: Mapping[str, ObjectStore]) -> list[StorageEvent]:
    """Return the events in a body, without data. Blocks: each object is looked up.

    Raises BadEvent, StoreError.
    """
    return [storage_event(item, providers) for item in told_of(parsed)]


def told_of(parsed: Iterable[Parsed]) -> list[Parsed]:
    """Return the items that are events. Raises BadEvent if there are too many."""
    items = [item for item in parsed if item.dialect is not Dialect.UNKNOWN]
    if len(items) > _MOST_EVENTS:
        raise BadEvent(f"the body has {len(items)} events, at most {_MOST_EVENTS} are accepted")
    return items


def payload(body: bytes) -> tuple[bytes, Mapping[str, str]]:
    """Return the input file in a body, decoded from base64, and the query of an API gateway."""
    parsed = unwrap(body)
    if len(parsed) == 1 and parsed[0].dialect is Dialect.UNKNOWN:
        return parsed[0].data, parsed[0].query
    return body, {}


def storage_event(item: Parsed, providers: Mapping[str, ObjectStore]) -> StorageEvent:
    """Return the event of one item, with the object as its store shows it. Blocks.

    Whoever may start a service may send any record. Therefore the revisions, the current one and its size are taken
    from the store only. The record is passed to the script unchanged.

    Raises BadEvent for a provider that is not configured and for an object that does not exist; StoreError.
    """
    provider = providers.get(item.provider)
    if provider is None:
        raise not_configured(item.provider)
    record = _checked_record(item)
    found = provider.stat(item.bucket, item.key)
    if found is None:
        raise BadEvent(f"{item.bucket}/{item.key} does not exist at storage provider {item.provider}")
    found = replace(found, via=Origin.HTTP, time=item.time or found.time, record=record)
    told = None if getattr(provider, "polled", True) else _told(item, record)
    if told is None:
        return found
    if told.revision == found.revision:
        return replace(found, order=min(told.order, found.order))
    # The object has been written again since, so the event cannot be newer.
    return replace(told, order=max(0, min(told.order, found.order - 1)))


def not_configured(provider: str) -> BadEvent:
    """Return the error for an event of a store that is not configured."""
    return BadEvent(f"the event is of storage provider {_shown(provider)}, which is not configured here")


def _checked_record(item: Parsed) -> bytes:
    try:
        checked_bucket(item.bucket)
        checked_key(item.key)
        checked_name("the time", item.time)
        record = to_json(item.record)
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadEvent(f"the event cannot be used: {error}") from error
    return bounded(record)


def bounded(record: bytes) -> bytes:
    """Return the record of an event. Raises EventTooLarge."""
    if len(record) > LONGEST_RECORD:
        raise EventTooLarge(f"the event has {len(record)} bytes, at most {LONGEST_RECORD} are taken")
    return record


def _told(item: Parsed, record: bytes) -> StorageEvent | None:
    """Return the event as MinIO's webhook sends it; None if it was written by hand, without a sequencer."""
    if item.dialect is not Dialect.MINIO:
        return None
    try:
        return event_of(item.provider, record, Origin.HTTP)
    except (ValueError, RecursionError):
        return None


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
