# SPDX-License-Identifier: Apache-2.0
"""Storage events are found in every form in which clients send them, and data stays data."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.sources.dialects import Dialect, unwrap

MINIO = {
    "eventSource": "minio:s3",
    "eventName": "s3:ObjectCreated:Put",
    "eventTime": "2026-11-24T06:17:31.602Z",
    "s3": {"bucket": {"name": "bucket"}, "object": {"key": "in%2Fa+b.txt", "sequencer": "18EAE6B1867E3AF3"}},
}
AWS = {
    "eventSource": "aws:s3",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "bucket"}, "object": {"key": "in/c%2Bd.txt", "size": 3}},
}
ONEDATA = {"Key": "/space/dir/file", "Records": [{"objectKey": "k", "objectId": "i", "eventSource": "OneTrigger"}]}
DCACHE = {"event": {"name": "image.jpg", "mask": ["IN_CREATE"]}, "subscription": "https://dcache/api/v1/events/1"}
RUCIO = {"event_type": "close", "payload": {"scope": "user.jdoe", "name": "data.set"}}

KEYS = [
    "event",
    "event_type",
    "payload",
    "subscription",
    "Records",
    "httpMethod",
    "body",
    "storage_provider",
    "name",
    "Key",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def records(*items: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(items)}


def found(document: Any) -> list[tuple[str, str, str, str]]:
    return [(one.dialect.value, one.provider, one.bucket, one.key) for one in unwrap(json.dumps(document).encode())]


BARE = [
    (records(MINIO), ("minio", "minio.default", "bucket", "in/a b.txt")),
    (records(AWS), ("s3", "s3.default", "bucket", "in/c+d.txt")),
    (ONEDATA, ("onedata", "onedata.default", "space", "dir/file")),
    (DCACHE, ("dcache", "webdav.dcache", "", "image.jpg")),
    (RUCIO, ("rucio", "rucio.rucio", "user.jdoe", "data.set")),
    (records({"eventSource": "rucio", "scope": "s", "name": "n"}), ("rucio", "rucio.rucio", "s", "n")),
]


@pytest.mark.parametrize(("document", "event"), BARE)
def test_bare_events(document: Any, event: tuple[str, ...]) -> None:
    assert found(document) == [event]


@pytest.mark.parametrize(("document", "event"), BARE)
@pytest.mark.parametrize("wrap", [json.dumps, lambda document: document], ids=["text", "object"])
def test_events_behind_an_api_gateway(document: Any, event: tuple[str, ...], wrap: Any) -> None:
    gateway = {"httpMethod": "POST", "body": wrap(document), "queryStringParameters": {"q": "1"}}
    assert found(gateway) == [event]
    assert unwrap(json.dumps(gateway).encode())[0].query == {"q": "1"}


@pytest.mark.parametrize("wrap", [json.dumps, lambda document: document], ids=["text", "object"])
def test_delegated_events_name_the_cluster_they_come_from(wrap: Any) -> None:
    assert found({"storage_provider": "far", "event": wrap(records(MINIO))}) == [
        ("minio", "minio.far", "bucket", "in/a b.txt")
    ]
    assert found({"storage_provider": "minio.far", "event": wrap(records(MINIO))})[0][1] == "minio.far"
    assert found({"event": wrap(records(MINIO))})[0][1] == "minio.default"


def test_all_records_count_and_each_travels_alone() -> None:
    other = {**MINIO, "s3": {"bucket": {"name": "bucket"}, "object": {"key": "in%2Fother"}}}
    parsed = unwrap(json.dumps(records(MINIO, other)).encode())
    assert [one.key for one in parsed] == ["in/a b.txt", "in/other"]
    assert [one.record for one in parsed] == [MINIO, other]


@pytest.mark.parametrize("name", ["s3:ObjectCreated:PutTagging", "s3:ObjectRemoved:Delete", "ObjectRestore:Completed"])
def test_records_that_make_no_object_are_neither_event_nor_data(name: str) -> None:
    assert unwrap(json.dumps(records({**MINIO, "eventName": name})).encode()) == []


def test_folder_markers_are_no_objects() -> None:
    marker = {**MINIO, "s3": {"bucket": {"name": "bucket"}, "object": {"key": "in%2Fdir%2F"}}}
    assert unwrap(json.dumps(records(marker)).encode()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain text, with a comma",
        b"\x00\xff\xfe binary",
        b"5",
        b"[1,2]",
        b'"hello"',
        b"null",
        b"true",
        b'{"Records":[]}',
        b'{"Records":[{"eventSource":"someone:else"}]}',
        b'{"Records":[{"eventSource":"minio:s3"}]}',
        b'{"Records":[{"eventSource":"minio:s3","s3":{"bucket":{"name":1},"object":{"key":"a"}}}]}',
        b'{"event_type":"click"}',
        b'{"event_type":"click","payload":{"x":1}}',
        b'{"event":"party","place":"Valencia"}',
        b'{"event":{"name":"party"},"place":"Valencia"}',
        b'{"event":{"Records":[{"eventSource":"someone:else"}]},"storage_provider":"x"}',
        b'{"httpMethod":"POST"}',
        json.dumps({"event": "{" * 50}).encode(),
    ],
)
def test_anything_else_is_data_as_it_is(body: bytes) -> None:
    (parsed,) = unwrap(body)
    assert (parsed.dialect, parsed.data) == (Dialect.UNKNOWN, body)


@given(json_values)
def test_no_json_fails(document: Any) -> None:
    body = json.dumps(document).encode()
    (parsed,) = unwrap(body)
    assert parsed.dialect is not Dialect.UNKNOWN or parsed.data in (body, _inner(document))


def _inner(document: Any) -> bytes | None:
    """What an API Gateway's body is as data."""
    if not isinstance(document, dict) or "body" not in document:
        return None
    inner = document["body"]
    if isinstance(inner, str):
        return unwrap(inner.encode("utf-8", "surrogateescape"))[0].data
    return b"" if inner is None else json.dumps(inner, separators=(",", ":"), ensure_ascii=False).encode()


@given(st.binary(max_size=300))
def test_no_bytes_fail(body: bytes) -> None:
    assert unwrap(body)[0].dialect is Dialect.UNKNOWN


@given(st.binary(min_size=1, max_size=300))
def test_binary_files_that_clients_send_as_base64_are_decoded(content: bytes) -> None:
    encoded = base64.b64encode(content)
    if encoded.isdigit():  # that is also a number, and stays one
        return
    assert unwrap(encoded)[0].data == content
    assert unwrap(base64.encodebytes(content))[0].data == content


def test_text_behind_a_gateway_is_data_and_base64_of_the_gateway_is_decoded() -> None:
    gateway = {"httpMethod": "POST", "body": "how are you?", "isBase64Encoded": False}
    assert unwrap(json.dumps(gateway).encode())[0].data == b"how are you?"
    gateway |= {"body": base64.b64encode(b"\xff\xd8 a picture").decode(), "isBase64Encoded": True}
    assert unwrap(json.dumps(gateway).encode())[0].data == b"\xff\xd8 a picture"
    assert unwrap(b'{"httpMethod":"GET","body":null}')[0].data == b""


def test_wrappers_end_somewhere() -> None:
    document: Any = records(MINIO)
    for _ in range(100):
        document = {"event": document}
    assert unwrap(json.dumps(document).encode())[0].dialect is Dialect.UNKNOWN
