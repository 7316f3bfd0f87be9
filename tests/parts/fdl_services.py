# SPDX-License-Identifier: Apache-2.0
"""Strategies of Hypothesis for documents of services."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-wyz][-a-z0-9]{1,36}[a-z0-9]", fullmatch=True)
BUCKETS = st.from_regex(r"[a-wyz][a-z0-9-]{1,20}[a-z0-9]", fullmatch=True)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
WORDS = st.text(st.characters(exclude_characters="\0*", exclude_categories=["Cs"]), min_size=1, max_size=8)
FOLDERS = st.lists(st.from_regex(r"[A-Za-z0-9é+%' _]*[A-Za-z0-9é+%'_]", fullmatch=True), min_size=1, max_size=3).map(
    "/".join
)
VARIABLES = st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), TEXT, max_size=3)
MEMORY = st.sampled_from(["256Mi", "1.5Gi", "2G", "1e9", 2**30, "4096Ki", " 1Gi "])
CPU = st.sampled_from(["0.2", "500m", 1, 2.5, "1", ".5"])
LISTS = st.lists(WORDS, max_size=3)


@st.composite
def places(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """One input or output."""
    path = draw(st.one_of(st.tuples(BUCKETS, FOLDERS).map("/".join), st.just("in"), st.just("/in/")))
    provider = draw(st.sampled_from(["minio", "minio.default"]))
    more = draw(st.fixed_dictionaries({}, optional={"prefix": LISTS, "suffix": LISTS, **fields}))
    return {"storage_provider": provider, "path": path, **more}


OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "memory": MEMORY,
    "cpu": CPU,
    "total_memory": MEMORY | st.just(""),
    "input": st.lists(places({"existing": st.sampled_from(["ignore", "process"])}), max_size=3),
    "output": st.lists(places({}), max_size=3),
    "environment": st.fixed_dictionaries({}, optional={"Variables": VARIABLES}),
    "retry": st.integers(1, 9)
    | st.fixed_dictionaries({}, optional={"attempts": st.integers(1, 9), "backoff": st.just("30s")}),
    "timeout": st.sampled_from([0, 90, "30s", "1h30m"]),
    "concurrency": st.integers(0, 50),
    "filter": TEXT,
    "log_level": st.sampled_from(["debug", "INFO", "Error"]),
    "expose": st.fixed_dictionaries(
        {}, optional={"api_port": st.integers(0, 65535) | st.lists(st.integers(1, 65535), max_size=3)}
    ),
    "replicas": st.lists(st.just({"type": "endpoint", "url": "https://example.org"}), max_size=2),
    "callback": st.sampled_from(["", "https://example.org/x?y=z", "http://h:8080"]),
    "alpine": st.booleans(),
}


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    """A valid document in any spelling."""
    more = draw(st.fixed_dictionaries({}, optional=OPTIONAL))
    script = draw(TEXT.map(lambda text: "#!/bin/sh\r\n" + text))
    return {
        "name": draw(NAMES),
        "image": "x",
        "script": script,
        **more,
    }
