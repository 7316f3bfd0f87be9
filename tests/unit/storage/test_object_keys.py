# SPDX-License-Identifier: Apache-2.0
"""Keys survive the forms in which they travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.storage.object_keys import decode_key, depth_of, encode_key, stageable

ANY_KEY = st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(ANY_KEY)
def test_every_key_round_trips(key: str) -> None:
    assert decode_key(encode_key(key)) == key


@pytest.mark.parametrize(
    ("escaped", "key"),
    [
        ("in%2Ff+1+%C3%A9%2B%26.txt", "in/f 1 é+&.txt"),
        ("in/already/plain", "in/already/plain"),
        ("in%2Fnew%0Aline", "in/new\nline"),
        ("in%2F%24%28id%29%22%27", "in/$(id)\"'"),
        ("in%2F%FF%FE", "in/\udcff\udcfe"),
        ("in%2F100%25", "in/100%"),
    ],
)
def test_keys_as_stores_write_them(escaped: str, key: str) -> None:
    assert decode_key(escaped) == key


@pytest.mark.parametrize(
    "key", ["a", "in/a", "in/.hidden", "in/a..b", "in/...", "in/a b", "in/\n", "in/$(id)", "in/\udcff"]
)
def test_keys_that_can_become_files(key: str) -> None:
    assert stageable(key)


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "../a", "a/..", "a\0b"])
def test_keys_that_cannot_become_files(key: str) -> None:
    assert not stageable(key)


@pytest.mark.parametrize(
    ("metadata", "depth"),
    [
        ({"X-Amz-Meta-Oscar-Depth": "3"}, 3),
        ({"x-amz-meta-oscar-depth": "12", "content-type": "text/plain"}, 12),
        ({"content-type": "text/plain"}, 0),
        ({"x-amz-meta-oscar-depth": "-1"}, 0),
        ({"x-amz-meta-oscar-depth": "many"}, 0),
        ({"x-amz-meta-oscar-depth": "٣"}, 0),
        ({"x-amz-meta-oscar-depth": "9" * 5000}, 0),
        (None, 0),
    ],
)
def test_depth_is_read_from_metadata(metadata: dict[str, str] | None, depth: int) -> None:
    assert depth_of(metadata) == depth
