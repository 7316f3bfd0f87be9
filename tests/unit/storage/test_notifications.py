# SPDX-License-Identifier: Apache-2.0
"""Bodies of MinIO's webhooks become storage events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oscar_fedcloud.config import Hooks, ProviderConfig
from oscar_fedcloud.domain.events import BadEvent, Origin
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.registry import make_provider


@pytest.fixture(scope="module")
def minio() -> ObjectStore:
    config = ProviderConfig(
        type="minio", endpoint="http://127.0.0.1:9000", access_key="a", secret_key="b", hooks=Hooks()
    )
    return make_provider("minio.default", config)


def record(name: str = "s3:ObjectCreated:Put", **item: Any) -> dict[str, Any]:
    return {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventTime": "2026-11-24T06:17:31.602Z",
        "eventName": name,
        "userIdentity": {"principalId": "someone"},
        "s3": {
            "bucket": {"name": "bucket", "arn": "arn:aws:s3:::bucket"},
            "object": {"key": "in%2Fa+b", "size": 3, "eTag": "abc", "sequencer": "18EAE6B1867E3AF3", **item},
        },
    }


def body(*records: dict[str, Any]) -> bytes:
    return json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": "bucket/in/a b", "Records": records}).encode()


def test_all_that_matters_is_taken(minio: ObjectStore) -> None:
    metadata = {"X-Amz-Meta-Oscar-Depth": "2", "content-type": "text/plain"}
    (event,) = minio.parse(body(record(userMetadata=metadata)))
    assert (event.provider, event.bucket, event.key) == ("minio.default", "bucket", "in/a b")
    assert (event.size, event.etag, event.version_id, event.depth) == (3, "abc", "", 2)
    assert (event.time, event.order, event.via) == ("2026-11-24T06:17:31.602Z", 0x18EAE6B1867E3AF3, Origin.DURABLE)
    assert json.loads(event.record) == record(userMetadata=metadata)


def test_every_record_becomes_an_event(minio: ObjectStore) -> None:
    events = minio.parse(body(record(), record(key="in%2Fother")))
    assert [event.key for event in events] == ["in/a b", "in/other"]
    assert events[0].record != events[1].record


def test_the_version_names_the_revision(minio: ObjectStore) -> None:
    (event,) = minio.parse(body(record(versionId="9c6b22cc")))
    assert (event.revision, event.version_id) == ("9c6b22cc", "9c6b22cc")
    (event,) = minio.parse(body(record(versionId="null")))
    assert event.version_id == ""
    assert event.revision == minio.parse(body(record()))[0].revision


@pytest.mark.parametrize("name", ["Put", "Post", "Copy", "CompleteMultipartUpload"])
def test_what_makes_an_object(minio: ObjectStore, name: str) -> None:
    assert len(minio.parse(body(record(f"s3:ObjectCreated:{name}")))) == 1


@pytest.mark.parametrize("name", ["s3:ObjectCreated:PutTagging", "s3:ObjectRemoved:Delete", "s3:ObjectAccessed:Get"])
def test_other_events_are_left_out_and_are_not_bad(minio: ObjectStore, name: str) -> None:
    assert minio.parse(body(record(name), record())) == minio.parse(body(record()))


def test_keys_that_end_in_a_slash_are_left_out(minio: ObjectStore) -> None:
    assert minio.parse(body(record(key="in%2Fdir%2F"))) == []


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"Records":null}',
        b'{"Records":[1]}',
        b'{"Records":[{"eventName":"s3:ObjectCreated:Put"}]}',
        body(record(sequencer="not hexadecimal")),
        body(record(sequencer="")),
        body(record(size="large")),
        body(record(key=None)),
    ],
)
def test_a_body_that_cannot_be_understood_is_bad(minio: ObjectStore, bad: bytes) -> None:
    with pytest.raises(BadEvent, match=r"minio\.default"):
        minio.parse(bad)


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_stores_that_are_polled_send_no_events(kind: str) -> None:
    config = ProviderConfig(type=kind, endpoint="http://127.0.0.1:9000", access_key="a", secret_key="b")
    with pytest.raises(BadEvent, match="sends no events"):
        make_provider("s3.site", config).parse(body(record()))
