# SPDX-License-Identifier: Apache-2.0
"""Endless loops over a whole catalogue."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.fdl_cases import minimal, place, unhurried

from oscar_fedcloud.fdl import Service, find_loops, match, parse_service


def service(name: str, source: Any, target: Any, **fields: Any) -> Service:
    inputs = [place(p) if isinstance(p, str) else p for p in ([source] if not isinstance(source, list) else source)]
    outputs = [place(p) if isinstance(p, str) else p for p in ([target] if not isinstance(target, list) else target)]
    archive = {"s3": {"x": {"access_key": "a", "secret_key": "b"}}}
    return parse_service(minimal(name=name, input=inputs, output=outputs, storage_providers=archive, **fields))


def found(*services: Service) -> list[tuple[tuple[str, ...], bool]]:
    return [(loop.services, loop.breakable) for loop in find_loops(services)]


# input, output of one service; None: no loop, else whether it is breakable
ONE_SERVICE: list[tuple[Any, Any, bool | None]] = [
    ("bucket/in", "bucket/in", False),
    ("bucket/in", "bucket/in/sub", False),
    ("bucket/in/sub", "bucket/in", False),  # an output may have sub-folders
    ("bucket/in", "bucket/out", None),
    ("bucket/in", "bucket/input", None),
    ("bucket/input", "bucket/in", None),
    ("bucket/in", "other/in", None),
    ("bucket/in", place("bucket/in", "s3.x"), None),
    (place("bucket/in", suffix=[".jpg"]), "bucket/in", False),
    (place("bucket/in", suffix=[".jpg"]), place("bucket/in", suffix=[".jpg"]), False),
    (place("bucket/in", suffix=[".jpg"]), place("bucket/in", suffix=[".png", ".jpg"]), False),
    (place("bucket/in", suffix=[".gz"]), place("bucket/in", suffix=[".tar.gz"]), False),
    (place("bucket/in", suffix=[".tar.gz"]), place("bucket/in", suffix=[".gz"]), False),
    (place("bucket/in", suffix=[".jpg"]), place("bucket/in", suffix=[".png"]), True),
    ("bucket/in", place("bucket/in", suffix=[".png"]), False),
    (place("bucket/in", prefix=["a"]), place("bucket/in", prefix=["ab"]), False),
    (place("bucket/in", prefix=["a"]), place("bucket/in", prefix=["b"]), None),
    ("bucket/data/in", place("bucket/data", prefix=["out/"]), None),
    ("bucket/data/in", place("bucket/data", prefix=["i"]), False),
    ("bucket/data/in", place("bucket/data", prefix=["in/x"]), False),
    (place("bucket/in", prefix=["sub/"]), "bucket/in/other", None),
    ("bucket/in", ["bucket/out", "bucket/in"], False),
    (["bucket/a", "bucket/b"], "bucket/b/x", False),
]


@pytest.mark.parametrize(("source", "target", "breakable"), ONE_SERVICE)
def test_a_service_that_starts_itself(source: Any, target: Any, breakable: bool | None) -> None:
    assert found(service("one", source, target)) == ([] if breakable is None else [(("one",), breakable)])


def test_a_filter_may_break_a_loop() -> None:
    assert found(service("one", "bucket/in", "bucket/in", filter="x")) == [(("one",), True)]


def test_a_loop_through_services_declared_apart() -> None:
    a = service("a", "bucket/in", "bucket/med")
    b = service("b", "bucket/med", "bucket/res")
    c = service("c", "bucket/res", "bucket/in/again")
    assert found(a, b) == []
    assert found(c, b, a) == [(("a", "b", "c"), False)]
    (loop,) = find_loops([a, b, c])
    assert loop.path == ("minio.default:bucket/med", "minio.default:bucket/res", "minio.default:bucket/in/again")
    assert loop.message == (
        "files would go round for ever: a writes to minio.default:bucket/med, which starts b; "
        "b writes to minio.default:bucket/res, which starts c; "
        "c writes to minio.default:bucket/in/again, which starts a"
    )


def test_one_way_out_makes_the_whole_loop_a_warning() -> None:
    a = service("a", "bucket/in", "bucket/med")
    b = service("b", place("bucket/med", suffix=[".x"]), "bucket/in", filter="f")
    c = service("c", place("bucket/med", suffix=[".x"]), "bucket/in")
    assert found(a, b) == [(("a", "b"), True)]
    assert found(a, c) == [(("a", "c"), False)]
    (loop,) = find_loops([a, b])
    assert "unless the filter of b stops them" in loop.message


def test_a_sure_loop_beside_a_breakable_one_between_the_same_services() -> None:
    a = service("a", "bucket/in", ["bucket/med", place("bucket/med", suffix=[".png"])])
    b = service("b", place("bucket/med", suffix=[".jpg"]), "bucket/in")
    assert found(a, b) == [(("a", "b"), False)]


def test_every_loop_is_reported_once_and_sure_ones_first() -> None:
    services = [
        service("a", "bucket/a", "bucket/b"),
        service("b", "bucket/b", "bucket/a"),
        service("c", "bucket/b", "bucket/a", filter="x"),
        service("self", "bucket/s", "bucket/s"),
        service("chain", "bucket/b", "bucket/end"),
        service("end", "bucket/end", "bucket/nowhere"),
    ]
    assert found(*services) == [(("a", "b"), False), (("self",), False), (("a", "c"), True)]


def test_a_long_chain_is_no_loop_until_it_is_closed() -> None:
    chain = [service(f"s{i}", f"bucket/f{i}", f"bucket/f{i + 1}") for i in range(300)]
    assert find_loops(chain) == []
    (loop,) = find_loops([*chain, service("s300", "bucket/f300", "bucket/f0")])
    assert len(loop.services) == 301


PIECES = ["", "a", "b", "ab", "a/", "b/"]
SUFFIXES = ["x", "y", "xy", "yx"]
NAMES = sorted({"".join(parts) for parts in itertools.product(PIECES, PIECES, PIECES, SUFFIXES)})


@unhurried
@given(
    st.sampled_from(["d", "d/a", "d/b", "d/a/b"]),
    st.sampled_from(["d", "d/a", "d/b", "d/a/b"]),
    st.lists(st.sampled_from(PIECES[1:]), max_size=2),
    st.lists(st.sampled_from(PIECES[1:]), max_size=2),
    st.lists(st.sampled_from(SUFFIXES), max_size=2),
    st.lists(st.sampled_from(SUFFIXES), max_size=2),
)
def test_sure_means_that_some_written_name_starts_it(
    written: str, read: str, out_prefix: list[str], in_prefix: list[str], out_suffix: list[str], in_suffix: list[str]
) -> None:
    one = service(
        "one",
        place(f"bucket/{read}", prefix=in_prefix, suffix=in_suffix),
        place(f"bucket/{written}", prefix=out_prefix, suffix=out_suffix),
    )
    output = one.output[0]
    kept = [
        name
        for name in NAMES
        if name.startswith(tuple(out_prefix) or "")
        and name.endswith(tuple(out_suffix) or "")
        and "//" not in f"/{name}"
    ]
    starts = any(match(one, "minio.default", "bucket", output.key_prefix + name).kind == "match" for name in kept)
    assert any(not loop.breakable for loop in find_loops([one])) == starts
