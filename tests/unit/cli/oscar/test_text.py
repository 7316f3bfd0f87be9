# SPDX-License-Identifier: Apache-2.0
"""Tables and names as people see them."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.cli.oscar.text import Column, age, cells, cut, fit, printable, size, span, table

TEXT = st.text(st.characters())


@given(TEXT)
def test_no_name_can_reach_the_terminal_as_a_command(text: str) -> None:
    shown = printable(text)
    assert not any(unicodedata.category(each)[0] == "C" for each in shown)
    shown.encode("utf-8")


@given(TEXT, st.integers(1, 40))
def test_a_cut_text_fits_and_a_short_one_stays(text: str, width: int) -> None:
    text = printable(text)
    shown = cut(text, width)
    assert cells(shown) <= max(width, 1)
    assert shown == text or cells(text) > width


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=8), st.integers(1, 200))
def test_only_columns_that_may_shrink_do(columns: list[tuple[int, bool]], width: int) -> None:
    widths, shrinks = [one for one, _ in columns], [may for _, may in columns]
    found = fit(widths, shrinks, width)
    assert all(new == old for new, old, may in zip(found, widths, shrinks, strict=True) if not may)
    assert all(new <= old for new, old in zip(found, widths, strict=True))


def test_a_table_of_jobs_fits_80_columns_and_keeps_ids_whole() -> None:
    heads = (Column("JOB"), Column("FILE", shrinks=True), Column("REASON", shrinks=True))
    job = "0123456789abcdef01"
    lines = table(heads, [(job, "a" * 90, "reason " * 30)], 80, False).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert job in lines[1]
    assert "…" in lines[1]
    assert table(heads, [(job, "a" * 90, "b")], None, False).splitlines()[1].split() == [job, "a" * 90, "b"]


def test_sizes_and_spans_have_a_unit() -> None:
    assert [size(each) for each in (0, 999, 1024, 1536, 1023 * 1024, 5 * 1024**3, None)] == [
        "0 B",
        "999 B",
        "1 KiB",
        "1.5 KiB",
        "1023 KiB",
        "5 GiB",
        "?",
    ]
    assert [span(each) for each in (-1, 0, 119, 120, 7200, 200_000)] == ["0s", "0s", "119s", "2m", "2h", "2d"]
    assert age("2026-01-01T00:00:00Z", 1767225600 + 60) == "60s"
    assert age("no time", 0) == age(None, 0) == ""
