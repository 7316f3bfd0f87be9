# SPDX-License-Identifier: Apache-2.0
"""Amounts of memory, CPU and time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.fdl_cases import unhurried

from oscar_fedcloud.fdl import parse_cpu, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("256Mi", 256 * 2**20),
        ("1Gi", 2**30),
        ("1.5Gi", 3 * 2**29),
        ("2G", 2 * 10**9),
        ("100k", 100_000),
        ("4Ki", 4096),
        ("1Ti", 2**40),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("1e9", 10**9),
        ("2E3", 2000),
        ("128974848", 128974848),
        ("128974848000m", 128974848),
        ("1m", 1),  # rounded up
        (".5Ki", 512),
        (1024, 1024),
        (1e6, 10**6),
        (0.5, 1),
    ],
)
def test_memory(value: Any, expected: int) -> None:
    assert parse_quantity(value) == expected
    assert isinstance(parse_quantity(value), int)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.2", 0.2), ("500m", 0.5), ("2", 2.0), (2, 2.0), (0.25, 0.25), ("1e1", 10.0), ("100000u", 0.1), ("1k", 1000.0)],
)
def test_cpu(value: Any, expected: float) -> None:
    assert parse_cpu(value) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value", ["", "Mi", "1 Gi", "1gi", "1GB", "-1", "+1", "1,5", "0x10", "1e999", "nan", "inf", "1MiB"]
)
def test_what_is_no_quantity(value: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(value)
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_cpu(value)


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}, float("inf"), float("nan")])
def test_other_types(value: Any) -> None:
    for parse in (parse_quantity, parse_cpu, parse_duration):
        with pytest.raises(ValueError, match="is not a"):
            parse(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (30, 30.0),
        (0.5, 0.5),
        ("30", 30.0),
        ("30s", 30.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("1d2h3m4.5s", 93784.5),
        ("1.5h", 5400.0),
        (0, 0.0),
    ],
)
def test_durations(value: Any, expected: float) -> None:
    assert parse_duration(value) == expected


@pytest.mark.parametrize("value", ["", "soon", "-5s", "30m1h", "5 s", "1w", "s", -1])
def test_what_is_no_duration(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


@unhurried
@given(st.integers(1, 10**6), st.sampled_from(["Ki", "Mi", "Gi"]))
def test_binary_suffixes_are_powers_of_1024(number: int, suffix: str) -> None:
    assert parse_quantity(f"{number}{suffix}") == number * 1024 ** (["Ki", "Mi", "Gi"].index(suffix) + 1)
