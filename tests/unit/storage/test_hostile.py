# SPDX-License-Identifier: Apache-2.0
"""Whatever a store says becomes a bounded value or a reason; one bad item never takes others with it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote_plus
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.hostile_s3 import HostileS3, listing, listing_row

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.events import BadEvent, Origin, StorageEvent, event_id
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.sources.dialects import unwrap
from oscar_fedcloud.storage.bounds import LARGEST, LATEST_ORDER, LONGEST_KEY
from oscar_fedcloud.storage.errors import BadAnswer, StoreError, UnusableRows
from oscar_fedcloud.storage.registry import make_provider
from oscar_fedcloud.storage.s3.listing import read_page
from oscar_fedcloud.storage.s3_events import parse_notification

NUMBERS = ["0", "-1", str(2**63), str(2**64), "9" * 5000, "NaN", "1e3", "1.5", " 7", "+7", "1_0", "٣", "", "0x10"]
TIMES = [
    "2026-11-24T06:20:23",
    "2026-11-24",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "1601-01-01T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "yesterday",
    "",
    "2026-11-24T06:20:23.696Z" * 50,
]
KEYS = ["a", "a\0b", "k" * 1025, "k" * (LONGEST_KEY + 1), "a//b", "../a", "/", "\x01x", "é", "\ud800", ""]


def checked(event: StorageEvent) -> None:
    """What both databases take, and every part of the daemon can name."""
    event_id(event)
    assert 0 <= event.order <= LATEST_ORDER
    assert event.size is None or 0 <= event.size <= LARGEST
    assert 0 < len(event.key.encode("utf-8", "surrogateescape")) <= LONGEST_KEY
    for text in (event.bucket, event.etag, event.version_id, event.time, event.revision):
        assert text.isprintable()
        assert len(text) < 2200
    assert 0 <= event.depth < 100_000


# -- listings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", NUMBERS)
@pytest.mark.parametrize("kind", ["s3", "folder", "minio"])
def test_a_strange_size_leaves_out_its_row_alone(kind: str, size: str) -> None:
    found, problem = listed(kind, listing(listing_row("bad", size=size), listing_row("good")))
    assert [event.key for event in found][-1] == "good"
    assert problem is None or "'bad'" in str(problem)
    assert (problem is None) == (size in ("0",))


@pytest.mark.parametrize("moment", TIMES)
@pytest.mark.parametrize("kind", ["s3", "folder", "minio"])
def test_a_strange_time_leaves_out_its_row_alone(kind: str, moment: str) -> None:
    found, problem = listed(kind, listing(listing_row("bad", modified=moment), listing_row("good")))
    assert [event.key for event in found][-1] == "good"
    assert isinstance(problem, UnusableRows) or len(found) == 2


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
def test_a_time_without_a_zone_is_utc() -> None:
    (one, other), problem = listed(
        "s3",
        listing(listing_row("a", modified="2026-11-24T06:20:23.696Z"), listing_row("b", "2026-11-24T06:20:23.696")),
    )
    assert problem is None
    assert one.order == other.order


def test_rows_without_a_field_are_named_and_the_rest_is_used() -> None:
    broken = "<Contents><Key>broken</Key></Contents><Contents></Contents><Contents><Size>3</Size></Contents>"
    found, problem = listed("s3", listing(broken, listing_row("good")))
    assert [event.key for event in found] == ["good"]
    assert isinstance(problem, UnusableRows)
    assert problem.reasons["broken"] == "the row has no LastModified"


def test_a_key_that_xml_cannot_hold_does_not_hide_the_others() -> None:
    page = listing(listing_row("KEY"), listing_row("good"), encoded=False)
    found, _ = listed("s3", page.replace(b"KEY", b"a&#1;b\x02\xff&#xD800;"))
    assert [event.key for event in found] == ["a\ufffdb\ufffd\ufffd\ufffd", "good"]


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"no xml",
        b"<a>" * 10_000,
        b"{}",
        b"\xff\xfe<\0a\0/\0>\0",
        b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><a>&d;</a>',
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    ],
)
def test_a_page_that_is_no_listing_is_an_error_of_the_store_or_empty(page: bytes) -> None:
    found, problem = listed("s3", page)
    assert found == []
    assert problem is None or isinstance(problem, BadAnswer)


def test_a_listing_that_goes_round_in_circles_ends() -> None:
    page = listing(listing_row("a"), more="same-token")
    found, problem = listed("s3", page)
    assert {event.key for event in found} == {"a"}
    assert "how to continue" in str(problem)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KEYS) | st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
            st.sampled_from(NUMBERS) | st.integers().map(str) | st.text(max_size=5),
            st.sampled_from(TIMES) | st.datetimes().map(lambda moment: moment.isoformat()) | st.text(max_size=12),
            st.text(max_size=10),
        ),
        max_size=6,
    )
)
def test_any_listing_becomes_rows_and_reasons(rows: list[tuple[str, str, str, str]]) -> None:
    items = [
        listing_row(
            quote_plus(key, errors="surrogatepass"), modified=escape(moment), size=escape(size), etag=escape(etag)
        )
        for key, size, moment, etag in rows
    ]
    try:
        page = read_page(listing(*items, listing_row("good")), "bucket")
    except ParseError:  # a sign that not even the replacement can save, e.g. U+FFFE
        return
    provider = make_provider("s3.x", ProviderConfig(type="s3", endpoint="http://127.0.0.1:1"))
    for row in page.rows:
        checked(provider._event(row))
    assert page.rows[-1].key == "good"


@pytest.mark.parametrize("answer", ["garbage", "short", "gzip", "redirect", "empty", "not-http", "closed"])
@pytest.mark.parametrize("kind", ["s3", "folder", "minio"])
def test_every_question_to_a_hostile_store_ends_in_a_provider_error(kind: str, answer: str) -> None:
    with HostileS3(answer) as server:
        store = make_provider("minio.bad", settings(kind, server.endpoint))
        for ask in (
            lambda: list(store.list(Prefix("bucket"))),
            lambda: store.put("bucket", "key", b"x"),
            lambda: store.buckets(),
            lambda: list(store.older("bucket", 0.0)),
            lambda: store.remove_many("bucket", ["a", "\x01", ".."]),
            lambda: store.delete_bucket("bucket", True),
        ):
            problem = complaint(ask)
            assert problem is None or "minio.bad" in problem
            assert problem is None or len(problem) < 1000
        assert isinstance(store.health()["ok"], bool)
        assert server.requests
        assert not server.followed


def complaint(ask: Callable[[], object]) -> str | None:
    """What the store is said to have done wrong; any other exception fails the test."""
    try:
        ask()
    except StoreError as error:
        return str(error)
    return None


def listed(kind: str, *pages: bytes) -> tuple[list[StorageEvent], StoreError | None]:
    """What a store hands on of these pages (the last one again and again), and what it complains of."""
    found: list[StorageEvent] = []
    with HostileS3(pages) as server:
        provider = make_provider("minio.bad", settings(kind, server.endpoint))
        try:
            for event in provider.list(Prefix("bucket")):
                checked(event)
                found.append(event)
        except StoreError as error:
            return found, error
    return found, None


def settings(kind: str, endpoint: str) -> ProviderConfig:
    return ProviderConfig(type=kind, endpoint=endpoint, access_key="a", secret_key="secret-key")


# -- notifications and bodies --------------------------------------------------------------------------------------

DEEP = b"[" * 10_000 + b"]" * 10_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([2**63, 2**64, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def record(**item: Any) -> dict[str, Any]:
    return {
        "eventSource": "minio:s3",
        "eventName": "s3:ObjectCreated:Put",
        "eventTime": "2026-11-24T06:17:31.602Z",
        "s3": {
            "bucket": {"name": "bucket"},
            "object": {"key": "a", "size": 3, "eTag": "abc", "sequencer": "18EAE6B1867E3AF3", **item},
        },
    }


def body(*records: Any) -> bytes:
    return json.dumps({"Records": records}).encode()


@pytest.mark.parametrize(
    "bad",
    [
        DEEP,
        b'{"Records":[' + DEEP + b"]}",
        body(record(size=2**63)),
        body(record(size=2**64)),
        body(record(size=-1)),
        body(record(size=None, sequencer="F" * 17)),
        body(record(sequencer="-1")),
        body(record(sequencer="0x10")),
        body(record(sequencer="1_0")),
        body(record(key="%00" * (LONGEST_KEY + 1))),
        body(record(key="")),
        body(record(eTag="a" * 5000)),
        body(record(eTag="a\0b")),
        body(record(versionId="a\nb")),
        body(record(more="x" * 70_000)),
        body({**record(), "s3": {"bucket": {"name": "a/b"}, "object": {"key": "a", "sequencer": "1"}}}),
        body(record()).replace(b'"size": 3', b'"size": ' + b"9" * 5000),
        body(record()).replace(b'"size": 3', b'"size": NaN'),
        body(record()).replace(b'"abc"', rb'"\ud800"'),
    ],
)
def test_a_notification_out_of_bounds_is_a_bad_event(bad: bytes) -> None:
    with pytest.raises(BadEvent) as caught:
        parse_notification("minio.default", bad, Origin.DURABLE)
    assert len(str(caught.value)) < 500


def test_the_good_records_of_a_bad_notification_are_not_lost() -> None:
    with pytest.raises(BadEvent) as caught:
        parse_notification("minio.default", body(record(key="one"), record(size=-1), record(key="two")), Origin.DURABLE)
    assert [event.key for event in caught.value.events] == ["one", "two"]


@pytest.mark.parametrize("sequencer", ["7FFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFF", "0"])
def test_the_order_of_a_notification_is_bounded(sequencer: str) -> None:
    (event,) = parse_notification("minio.default", body(record(sequencer=sequencer)), Origin.DURABLE)
    checked(event)


def test_strange_metadata_is_no_reason_to_refuse_an_event() -> None:
    for metadata in (7, [1], "x", {"X-Amz-Meta-Oscar-Depth": 3}, {"x-amz-meta-oscar-depth": "9" * 100}):
        (event,) = parse_notification("minio.default", body(record(userMetadata=metadata)), Origin.DURABLE)
        assert event.depth == 0


@given(st.dictionaries(st.sampled_from(["key", "size", "eTag", "versionId", "sequencer", "userMetadata"]), JSON))
def test_any_record_is_an_event_or_a_bad_one(fields: dict[str, Any]) -> None:
    try:
        events = parse_notification("minio.default", body(record(**fields)), Origin.DURABLE)
    except BadEvent:
        return
    for event in events:
        checked(event)


@given(JSON | st.fixed_dictionaries({"Records": st.lists(JSON, max_size=3)}))
def test_any_body_is_an_event_or_a_bad_one(document: Any) -> None:
    try:
        parse_notification("minio.default", json.dumps(document).encode(), Origin.FAST)
    except BadEvent:
        return


@given(st.binary(max_size=60) | JSON.map(lambda document: json.dumps(document).encode()))
def test_any_body_of_a_request_is_unwrapped(sent: bytes) -> None:
    assert unwrap(sent)


@pytest.mark.parametrize("sent", [DEEP, b'{"event":' + DEEP + b"}", b'{"httpMethod":"POST","body":' + DEEP + b"}"])
def test_a_body_that_is_nested_too_deeply_is_a_bad_event(sent: bytes) -> None:
    with pytest.raises(BadEvent, match="nested too deeply"):
        unwrap(sent)
