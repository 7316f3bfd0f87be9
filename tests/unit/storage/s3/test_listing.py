# SPDX-License-Identifier: Apache-2.0
"""Listings are read whole, page by page, whatever the keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote_plus
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.storage.rows import Row
from oscar_fedcloud.storage.s3 import listing
from oscar_fedcloud.storage.s3.listing import current_versions, objects

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MOMENT = datetime(2026, 11, 24, 6, 20, 23, 696000, tzinfo=UTC)
KEYS = st.binary(min_size=1, max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def element(name: str, *children: ElementTree.Element, **texts: str) -> ElementTree.Element:
    made = ElementTree.Element(name)
    for tag, text in texts.items():
        ElementTree.SubElement(made, tag).text = text
    made.extend(children)
    return made


def row(key: str, **more: str) -> ElementTree.Element:
    return element("Contents", Key=key, LastModified="2026-11-24T06:20:23.696Z", ETag='"abc"', Size="3", **more)


def version(key: str, latest: str, name: str) -> ElementTree.Element:
    made = row(key, IsLatest=latest, VersionId=name)
    made.tag = "Version"
    return made


@dataclass
class Client:
    """Answers with the given pages in turn, and keeps what was asked."""

    pages: list[ElementTree.Element]
    namespace: str = NAMESPACE
    asked: list[Mapping[str, str]] = field(default_factory=list)

    def _execute(self, method: str, bucket: str, query_params: Mapping[str, str]) -> Client:
        assert (method, bucket) == ("GET", "bucket")
        self.asked.append(query_params)
        return self

    @property
    def data(self) -> bytes:
        page = self.pages[len(self.asked) - 1]
        if self.namespace:
            page.set("xmlns", self.namespace)
        return ElementTree.tostring(page)


@pytest.mark.parametrize("namespace", [NAMESPACE, ""])
def test_a_row_is_taken_whole(namespace: str) -> None:
    client = Client([element("ListBucketResult", row("in%2Fa+b"), EncodingType="url")], namespace)
    assert list(objects(client, "bucket", "in/")) == [Row("bucket", "in/a b", MOMENT, 3, "abc")]
    assert client.asked[0]["prefix"] == "in/"


@given(st.lists(KEYS, max_size=5))
def test_encoded_keys_come_back(keys: list[str]) -> None:
    rows = [row(quote_plus(key, errors="surrogateescape")) for key in keys]
    client = Client([element("ListBucketResult", *rows, EncodingType="url")])
    assert [one.key for one in objects(client, "bucket", "")] == keys


def test_keys_that_are_not_encoded_are_taken_as_they_are() -> None:
    client = Client([element("ListBucketResult", row("a+b%20c"))])
    assert [one.key for one in objects(client, "bucket", "")] == ["a+b%20c"]


def test_pages_follow_each_other() -> None:
    first = element("ListBucketResult", row("a"), IsTruncated="true", NextContinuationToken="token+1")
    client = Client([first, element("ListBucketResult", row("b"), IsTruncated="false")])
    assert [one.key for one in objects(client, "bucket", "")] == ["a", "b"]
    assert "continuation-token" not in client.asked[0]
    assert client.asked[1] == {**client.asked[0], "continuation-token": "token+1"}


def test_a_listing_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MOST_PAGES", 3)
    pages = [
        element("ListBucketResult", row(f"key{number}"), IsTruncated="true", NextContinuationToken=str(number))
        for number in range(9)
    ]
    client, found = Client(pages), []
    with pytest.raises(ValueError, match="does not end within 3 pages"):
        found += objects(client, "bucket", "")
    assert len(client.asked) == 3


def test_pages_of_versions_follow_each_other() -> None:
    markers = {"NextKeyMarker": "a+b", "NextVersionIdMarker": "v2", "IsTruncated": "true", "EncodingType": "url"}
    first = element("ListVersionsResult", version("a+b", "false", "v1"), version("a+b", "true", "v2"), **markers)
    client = Client([first, element("ListVersionsResult", version("c", "true", "null"), EncodingType="url")])
    found = [(one.key, one.version_id) for one in current_versions(client, "bucket", "")]
    assert found == [("a b", "v2"), ("c", "null")]
    assert (client.asked[1]["key-marker"], client.asked[1]["version-id-marker"]) == ("a b", "v2")


def test_delete_markers_are_no_objects() -> None:
    marker = element("DeleteMarker", Key="a", IsLatest="true", VersionId="v2", LastModified="2026-11-24T06:20:23Z")
    client = Client([element("ListVersionsResult", marker, version("a", "false", "v1"))])
    assert list(current_versions(client, "bucket", "")) == []


@pytest.mark.parametrize(
    "page",
    [
        element("ListBucketResult", row("a"), IsTruncated="true"),
        element("ListBucketResult", element("Contents", Key="a", Size="3")),
        element("ListBucketResult", element("Contents", Key="a", LastModified="yesterday", Size="3")),
    ],
)
def test_a_listing_that_cannot_be_understood_is_an_error(page: ElementTree.Element) -> None:
    with pytest.raises(ValueError, match="listing"):
        list(objects(Client([page]), "bucket", ""))


def test_nothing_is_asked_before_it_is_needed() -> None:
    first = element("ListBucketResult", row("a"), IsTruncated="true", NextContinuationToken="token")
    client = Client([first])
    rows: Iterator[Row] = objects(client, "bucket", "", limit=1)
    assert next(rows).key == "a"
    assert [one["max-keys"] for one in client.asked] == ["1"]


def test_no_more_is_asked_for_than_is_wanted() -> None:
    def page(*keys: str, token: str = "") -> ElementTree.Element:
        more = {"IsTruncated": "true", "NextContinuationToken": token} if token else {"IsTruncated": "false"}
        return element("ListBucketResult", *map(row, keys), **more)

    client = Client([page(*map(str, range(1000)), token="1"), page("x", token="2"), page("y")])
    assert len(list(objects(client, "bucket", "", limit=1001))) == 1002
    assert [one["max-keys"] for one in client.asked] == ["1000", "1", "1000"]
    assert "start-after" not in client.asked[0]


ALL = ["in/a", "in/b", "in/b\udcfe", "in/c"]


@pytest.mark.parametrize(
    ("after", "start", "left"),
    [
        ("in/b", "in/b", ALL[2:]),
        ("in/b\udcff", "in/b", ALL[3:]),  # a request cannot name such a key
        ("in/", "in/", ALL),
        ("a", "a", ALL),
    ],
)
def test_a_listing_begins_behind_a_key(after: str, start: str, left: list[str]) -> None:
    """The rows of a store that takes no notice of where it should begin are left out as well."""
    rows = [row(quote_plus(key, errors="surrogateescape")) for key in ALL]
    client = Client([element("ListBucketResult", *rows, EncodingType="url", IsTruncated="false")])
    assert [one.key for one in objects(client, "bucket", "in/", after)] == left
    assert client.asked[0]["start-after"] == start


@pytest.mark.parametrize("after", ["j", "\udcff"])
def test_behind_the_last_key_of_a_prefix_nothing_is_asked_for(after: str) -> None:
    client = Client([])
    assert list(objects(client, "bucket", "in/", after)) == []
    assert client.asked == []
