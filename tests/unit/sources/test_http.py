# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests become events of configured stores, or input files."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from oscar_fedcloud.domain.events import BadEvent, Origin, StorageEvent
from oscar_fedcloud.sources.dialects import unwrap
from oscar_fedcloud.sources.http import payload, storage_events


class Store:
    """A provider that holds the objects of a test."""

    def __init__(self, provider_id: str, polled: bool, *keys: str, revision: str = "listed", order: int = 7) -> None:
        self.id = provider_id
        self.polled = polled
        self.keys = keys
        self.revision = revision
        self.order = order

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        if key not in self.keys:
            return None
        found = StorageEvent(self.id, bucket, key, self.revision, self.order, size=3, depth=1, time="then")
        return replace(found, via=Origin.LISTING)


def body(source: str = "minio:s3", key: str = "in%2Fa", **item: Any) -> bytes:
    part = {"bucket": {"name": "bucket"}, "object": {"key": key, **item}}
    return json.dumps({"Records": [{"eventSource": source, "s3": part, "mine": True}]}).encode()


def events(sent: bytes, *stores: Store) -> list[StorageEvent]:
    return storage_events(unwrap(sent), {store.id: store for store in stores})


def test_an_event_of_minio_is_what_its_webhook_would_send() -> None:
    store = Store("minio.default", False, "in/a", revision="1-abc", order=1_999_999)
    (event,) = events(body(sequencer="F4240", eTag="abc", size=3), store)
    assert (event.revision, event.order, event.via) == ("1-abc", 1_000_000, Origin.HTTP)


@pytest.mark.parametrize("sequencer", ["7FFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFF", "1EAE6B1867E3AF300"])
@pytest.mark.parametrize("etag", ["abc", "other"])
def test_a_forged_order_is_never_newer_than_the_current_object(sequencer: str, etag: str) -> None:
    store = Store("minio.default", False, "in/a", revision="1-abc", order=1_999_999)
    (event,) = events(body(sequencer=sequencer, eTag=etag), store)
    assert event.order <= store.order
    assert event.revision == "1-abc" or event.order < store.order


def test_a_forged_order_of_the_current_version_is_that_of_the_object() -> None:
    store = Store("minio.default", False, "in/a", revision="v1", order=1_999_999)
    (event,) = events(body(sequencer="7FFFFFFFFFFFFFFF", versionId="v1"), store)
    assert (event.revision, event.order) == ("v1", store.order)


def test_only_the_store_says_how_large_an_object_is_and_how_deep() -> None:
    store = Store("minio.default", False, "in/a", revision="v1", order=1_999_999)
    forged = body(sequencer="F4240", versionId="v1", size=2**40, eTag="f" * 32)
    (event,) = events(forged, store)
    assert (event.revision, event.size, event.etag, event.depth) == ("v1", 3, "", 1)


def test_a_record_has_bounds_and_so_has_their_number() -> None:
    store = Store("minio.default", False, "in/a")
    with pytest.raises(BadEvent, match="at most 65536"):
        events(body(more="x" * 70_000), store)
    many = json.dumps({"Records": json.loads(body())["Records"] * 1001}).encode()
    with pytest.raises(BadEvent, match="at most 1000"):
        events(many, store)
    with pytest.raises(BadEvent, match="4096"):
        events(body(key="a" * 5000), store)


def test_an_event_that_was_written_by_hand_is_completed_from_the_store() -> None:
    (event,) = events(body(), Store("minio.default", False, "in/a"))
    assert (event.revision, event.order, event.size, event.depth, event.via) == ("listed", 7, 3, 1, Origin.HTTP)
    assert json.loads(event.record)["mine"] is True


def test_an_event_of_a_polled_store_has_the_revision_that_polling_gives() -> None:
    sent = body("aws:s3", eTag="abc", sequencer="0055AED6DCD90281E5")
    assert events(sent, Store("s3.default", True, "in/a"))[0].revision == "listed"
    assert events(body(sequencer="F4240"), Store("minio.default", True, "in/a"))[0].revision == "listed"


def test_events_of_unknown_stores_and_objects_are_bad() -> None:
    with pytest.raises(BadEvent, match=r"minio\.default.*not configured"):
        events(body(sequencer="1"))
    with pytest.raises(BadEvent, match="bucket/in/a does not exist"):
        events(body(), Store("minio.default", False))


def test_data_is_no_event() -> None:
    assert events(b'{"event":"party"}') == []


@pytest.mark.parametrize(
    ("sent", "file"),
    [
        (b'{"message": "hi"}', b'{"message": "hi"}'),
        (b"plain text.", b"plain text."),
        (base64.b64encode(b"\xff\xd8 picture"), b"\xff\xd8 picture"),
        (b"", b""),
        (body(), body()),
    ],
)
def test_the_input_file_that_a_body_stands_for(sent: bytes, file: bytes) -> None:
    assert payload(sent) == (file, {})
