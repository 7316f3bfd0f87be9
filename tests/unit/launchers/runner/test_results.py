# SPDX-License-Identifier: Apache-2.0
"""What a Job leaves of its end is hostile input: whatever it is, it becomes a bounded value or a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.domain.runs import OutputPlace, StoredObject
from oscar_fedcloud.launchers.runner.outputs import OUTPUTS_MAX, parse_outputs
from oscar_fedcloud.launchers.runner.result import PHASES, RESULT_MAX, Result, parse_result
from oscar_fedcloud.storage.rclone import key_of, rclone_path

PLACES = (OutputPlace("minio.default", "results", "out"), OutputPlace("s3.x", "whole"))
MD5 = "5d41402abc4b2a76b9719d911017c592"


def test_a_result() -> None:
    listed = f"output=0 {MD5} 5 a b\noutput=1   c\n"
    found = parse_result(f"phase=done\nexit=0\nreason=done\nsummary=3 cells\noutputs=2\n{listed}".encode())
    assert found == Result("done", 0, "done", "3 cells", 2, listed.encode())
    assert parse_outputs(found.outputs, PLACES) == (
        StoredObject("minio.default", "results", "out/a b", 5, MD5),
        StoredObject("s3.x", "whole", "c"),
    )


def test_nothing_is_no_problem() -> None:
    assert parse_result(b"") == parse_result(b"\n") == Result()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"phase=script\nexit=99999999999999999999\n", "exit code"),
        (b"phase=script\nexit=256\n", "exit code is '256', not a number from 0 to 255"),
        (b"phase=script\nexit=-1\n", "exit code"),
        (b"phase=script\nexit= 1\n", "exit code"),
        (b"phase=script\nexit=1.5\n", "exit code"),
        ("phase=script\nexit=٣\n".encode(), "exit code"),
        (b"phase=script\n", "exit code"),
        (b"phase=script\nexit=" + b"9" * 5000, "more than 4096 bytes"),
        (b"phase=over\nexit=1\n", "its phase is 'over'"),
        (b"exit=1\nreason=x\n", "its phase is ''"),
        (b"\0" * 100, "phase"),
        (b"phase=done\nexit=0\noutputs=99999999999\n", "number of outputs"),
        (b"phase=done\nexit=0\noutputs=-1\n", "number of outputs"),
    ],
)
def test_what_cannot_be_is_a_problem(content: bytes, problem: str) -> None:
    found = parse_result(content)
    assert problem in found.problem
    assert found == Result(problem=found.problem)
    assert len(found.problem) < 200


def test_the_first_line_of_a_name_counts() -> None:
    assert parse_result(b"phase=script\nexit=3\nreason=x\nexit=0\nphase=done\n") == Result("script", 3, "x")


@given(st.binary(max_size=5000) | st.builds(lambda rest: b"phase=script\nexit=7\n" + rest, st.binary(max_size=4500)))
def test_any_bytes_give_a_bounded_value(content: bytes) -> None:
    found = parse_result(content)
    assert 0 <= found.exit <= 255
    assert 0 <= found.total < 2**31
    assert found.phase in ("", *PHASES)
    assert len(found.reason) <= 1000
    assert len(found.summary) <= 80
    for text in (found.reason, found.summary, found.problem):
        assert text.isprintable() or not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text)
        text.encode()  # no surrogates
    if len(content) > RESULT_MAX:
        assert found.problem


@given(st.binary(max_size=2000) | st.lists(st.binary(max_size=60)).map(lambda rest: b"\noutput=0  1 ".join(rest)))
def test_any_list_stays_below_the_outputs(content: bytes) -> None:
    for stored in parse_outputs(content, PLACES):
        assert (stored.provider, stored.bucket) in {(place.provider, place.bucket) for place in PLACES}
        assert stored.bucket == "whole" or stored.key.startswith("out/")
        assert not {"", ".", ".."} & set(stored.key.split("/"))
        assert "\0" not in stored.key
        assert len(stored.key.encode()) <= 1024
        assert stored.size is None or 0 <= stored.size < 2**63


@pytest.mark.parametrize(
    "line",
    [
        "output=2 - 1 a",
        f"output=0 {MD5} 1 ../other",
        f"output=0 {MD5} 1 a/../../b",
        f"output=0 {MD5} 1 /a",
        f"output=0 {MD5} 1 a//b",
        f"output=0 {MD5} 1 a/",
        f"output=0 {MD5} 1 nul\u2400",
        f"output=0 {MD5} 9223372036854775808 large",
        f"output=0 {MD5} -1 a",
        f"output=0 {MD5.upper()} 1 a",
        f"output=0 {MD5} 1 " + "x" * 1025,
        f"output=-1 {MD5} 1 a",
        f"output=99999 {MD5} 1 a",
        "output=0 a",
        "",
    ],
)
def test_what_is_no_output_is_left_out(line: str) -> None:
    assert parse_outputs(f"{line}\noutput=0 {MD5} 1 good\n".encode(), PLACES) == (
        StoredObject("minio.default", "results", "out/good", 1, MD5),
    )
    assert parse_outputs(b"output=0  1 \xff\xfe\n", PLACES) == ()


def test_the_number_of_outputs_is_bounded_and_each_counts_once() -> None:
    many = b"".join(b"output=0  1 %d\n" % number for number in range(OUTPUTS_MAX + 5))
    assert len(parse_outputs(many, PLACES)) == OUTPUTS_MAX
    twice = f"output=0  1 a\noutput=0 {MD5} 2 a\n".encode()
    assert parse_outputs(twice, PLACES) == (StoredObject("minio.default", "results", "out/a", 2, MD5),)


def test_an_object_of_many_parts_has_no_md5_for_an_etag() -> None:
    (found,) = parse_outputs(f"output=0 {MD5} {200 << 20} a\n".encode(), PLACES)
    assert (found.size, found.etag) == (200 << 20, "")


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_keys_come_back_as_they_were(key: str) -> None:
    assert key_of(rclone_path(key)) == key
