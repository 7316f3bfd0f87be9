# SPDX-License-Identifier: Apache-2.0
"""A revision has one name and one place in time, however its object was met."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.storage.revision import (
    milliseconds,
    revision_of_event,
    revision_of_polled,
    revision_of_row,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANOSECONDS = st.integers(0, 2**63 - 1).filter(lambda ns: ns // 10**9 < 250_000_000_000)
ETAGS = st.text("0123456789abcdef-", max_size=40)
VERSIONS = st.sampled_from(["", "null", "9c6b22cc-a0d3-45e3-983b-0da88d165569"])


def listed(ns: int) -> datetime:
    """The time that a listing shows of an object modified at ``ns``: cut to milliseconds."""
    return EPOCH + timedelta(milliseconds=ns // 1_000_000)


@given(NANOSECONDS, ETAGS, VERSIONS)
def test_event_and_listing_agree(ns: int, etag: str, version: str) -> None:
    event = revision_of_event(version, f"{ns:X}", etag)
    row = revision_of_row(version, listed(ns), etag)
    assert event.name == row.name


@given(NANOSECONDS, NANOSECONDS, ETAGS)
def test_order_is_that_of_modification(one: int, other: int, etag: str) -> None:
    first, second = (revision_of_event("", f"{ns:X}", etag) for ns in sorted((one, other)))
    assert first.order <= second.order


@given(NANOSECONDS, ETAGS)
def test_what_is_listed_never_counts_as_older_than_its_own_event(ns: int, etag: str) -> None:
    row = revision_of_row("", listed(ns), etag)
    assert revision_of_event("", f"{ns:X}", etag).order <= row.order
    assert row.order < revision_of_event("", f"{(ns // 1_000_000 + 1) * 1_000_000:X}", etag).order


def test_versions_name_the_revision_but_do_not_order_it() -> None:
    older = revision_of_event("ffffffff-0000-4000-8000-000000000000", "10", "a")
    newer = revision_of_event("00000000-0000-4000-8000-000000000000", "20", "a")
    assert older.name.startswith("ffff")
    assert older.order < newer.order


def test_the_version_null_is_no_version() -> None:
    assert revision_of_event("null", "F4240", "abc") == revision_of_event("", "F4240", "abc")


def test_same_content_again_is_a_new_revision() -> None:
    assert (
        revision_of_event("", "18EAE6D6CD409FEC", "abc").name != revision_of_event("", "18EAE6D6CD85EE1E", "abc").name
    )


def test_a_sequencer_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        revision_of_event("", "not hexadecimal", "abc")


@pytest.mark.parametrize("change", [{"size": 4}, {"etag": "b"}, {"modified": EPOCH + timedelta(milliseconds=1)}])
def test_polled_objects_differ_by_size_etag_and_time(change: dict[str, object]) -> None:
    row = {"size": 3, "modified": EPOCH, "etag": "a"}
    assert revision_of_polled(**row) != revision_of_polled(**{**row, **change})


@given(st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_milliseconds_are_exact(moment: datetime) -> None:
    ms = milliseconds(moment)
    assert EPOCH + timedelta(milliseconds=ms) <= moment < EPOCH + timedelta(milliseconds=ms + 1)
