# SPDX-License-Identifier: Apache-2.0
"""Read S3 listings page by page, without creating an object of the client library for each row.

Unusable rows are left out and reported after the last row, so that they do not affect other objects.

A listing of many objects must not delay the daemon: this takes a quarter of the time of the client's own parser, and
preserves bytes of keys that are not UTF-8. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from minio import Minio

from oscar_fedcloud.storage.bounds import checked_key, checked_name, size_of, time_of
from oscar_fedcloud.storage.errors import UnusableRows
from oscar_fedcloud.storage.rows import Row

PAGE = 1000  # rows; the maximum of S3
_MOST_PAGES = 100_000
_REASONS = 20  # unusable rows that are reported by name
_UTF8 = re.compile("[^\ud800-\udfff]*")
_NO_XML = re.compile(rb"&#(?:x[0-9A-Fa-f]+|[0-9]+);|[\x00-\x08\x0b\x0c\x0e-\x1f]")
Query = dict[str, str | list[str] | tuple[str]]
_FLAT: Query = {"delimiter": "", "encoding-type": "url"}


class _Page(NamedTuple):
    rows: list[Row]
    bad: dict[str, str]  # key -> what is wrong with its row
    more: bool  # whether other pages follow
    next: Query | None  # the query's markers for the next page, if the store gives any


@dataclass(slots=True)
class _Bad:
    """The unusable rows of a listing."""

    count: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, found: Mapping[str, str]) -> None:
        self.count += len(found)
        for key, reason in found.items():
            if len(self.reasons) < _REASONS:
                self.reasons[key] = reason


def objects(client: Minio, bucket: str, prefix: str, after: str = "", limit: int = 0) -> Iterator[Row]:
    """Yield the objects whose keys start with ``prefix`` and come after ``after``, in byte order of the keys.

    At most ``limit`` objects are requested; 0 means all. Raises the client's errors, ValueError, and UnusableRows after
    the last row.
    """
    return _behind(client, bucket, _unversioned(prefix), "start-after", after, limit)


def current_versions(client: Minio, bucket: str, prefix: str, after: str = "", limit: int = 0) -> Iterator[Row]:
    """Do the same with version ids. A key whose newest version is a delete marker has no object."""
    return _behind(client, bucket, _versioned(prefix), "key-marker", after, limit)


def _behind(client: Minio, bucket: str, query: Query, marker: str, after: str, limit: int) -> Iterator[Row]:
    """Yield the rows after a key. The listing starts at its UTF-8 prefix, because requests are UTF-8."""
    if not after:
        return _pages(client, bucket, query, limit)
    prefix, last = str(query["prefix"]), _bytes(after)
    if not after.startswith(prefix) and last > _bytes(prefix):
        return iter(())
    start = _UTF8.match(after)
    began = {**query, marker: start[0]} if start and start[0] else query
    return (row for row in _pages(client, bucket, began, limit) if _bytes(row.key) > last)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def one_object(client: Minio, bucket: str, key: str, versioned: bool = False) -> Row | None:
    """Return the row of one object, which is the first with its key as prefix. Raises like ``objects``."""
    query = _versioned(key) if versioned else _unversioned(key)
    page = _page(client, bucket, {**query, "max-keys": "1"})
    if reason := page.bad.get(key):
        raise UnusableRows(bucket, 1, {key: reason})
    return next((row for row in page.rows if row.key == key), None)


def _unversioned(prefix: str) -> Query:
    return {"list-type": "2", "prefix": prefix}


def _versioned(prefix: str) -> Query:
    return {"versions": "", "prefix": prefix}


def _pages(client: Minio, bucket: str, query: Query, limit: int) -> Iterator[Row]:
    markers: Query = {}
    bad = _Bad()
    for _ in range(_MOST_PAGES):
        size = min(PAGE, limit) if limit > 0 else PAGE
        page = _page(client, bucket, {**query, "max-keys": str(size), **markers})
        yield from page.rows
        limit -= len(page.rows)
        bad.add(page.bad)
        if not page.more:
            break
        if page.next in (None, markers):
            raise ValueError("the listing is truncated but does not say how to continue")
        markers = page.next or {}
    else:
        raise ValueError(f"the listing does not end within {_MOST_PAGES} pages")
    if bad.count:
        raise UnusableRows(bucket, bad.count, bad.reasons)


def _page(client: Minio, bucket: str, query: Query) -> _Page:
    # The client has no public method that gives a page as the server sent it.
    answer = client._execute("GET", bucket, query_params={**_FLAT, **query})
    return read_page(answer.data, bucket, versions="versions" in query)


def read_page(document: bytes, bucket: str, versions: bool = False) -> _Page:
    """Parse one page of a listing. Raises ValueError, ParseError."""
    root = _tree(document)
    space = root.tag[: root.tag.find("}") + 1]
    heads = {child.tag[len(space) :]: child.text or "" for child in root if not len(child)}
    encoded = heads.get("EncodingType") == "url"
    rows: list[Row] = []
    bad: dict[str, str] = {}
    for item in root.iterfind(f"{space}Version" if versions else f"{space}Contents"):
        fields = {child.tag[len(space) :]: child.text or "" for child in item}
        if fields.get("IsLatest", "true") != "true":
            continue
        try:
            rows.append(_row(fields, bucket, encoded))
        except ValueError as error:
            bad[_text(fields.get("Key", ""), encoded)] = str(error)
    return _Page(rows, bad, heads.get("IsTruncated") == "true", _markers(heads, encoded))


def _tree(document: bytes) -> ElementTree.Element:
    """Parse the XML of a page. Characters that XML does not allow, as in unencoded keys, become U+FFFD."""
    try:
        return ElementTree.fromstring(document)  # noqa: S314 - expat bounds entities itself
    except ElementTree.ParseError:
        clean = _NO_XML.sub(_allowed, document.decode("utf-8", "replace").encode())
        return ElementTree.fromstring(clean)  # noqa: S314


def _allowed(found: re.Match[bytes]) -> bytes:
    """Return a character reference unchanged if XML allows the character."""
    text = found[0]
    digits = text[2:-1].decode()
    if text.startswith(b"&#") and len(digits) <= 8:
        code = int(digits[1:], 16) if digits.startswith("x") else int(digits)
        if code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF:
            return text
    return b"\xef\xbf\xbd"


def _markers(heads: Mapping[str, str], encoded: bool) -> Query | None:
    if token := heads.get("NextContinuationToken"):
        return {"continuation-token": token}
    if key := heads.get("NextKeyMarker"):
        return {"key-marker": _text(key, encoded), "version-id-marker": heads.get("NextVersionIdMarker", "")}
    return None


def _row(fields: Mapping[str, str], bucket: str, encoded: bool) -> Row:
    """Return the object of a row. Raises ValueError with the problem."""
    if missing := [name for name in ("Key", "LastModified", "Size") if name not in fields]:
        raise ValueError(f"the row has no {missing[0]}")
    return Row(
        bucket,
        checked_key(_text(fields["Key"], encoded)),
        time_of(fields["LastModified"]),
        size_of(fields["Size"]),
        checked_name("the eTag", fields.get("ETag", "").strip('"')),
        checked_name("the version", fields.get("VersionId", "")),
    )


def _text(value: str, encoded: bool) -> str:
    return unquote_plus(value, errors="surrogateescape") if encoded else value
