# SPDX-License-Identifier: Apache-2.0
"""Output rules: what rclone makes of the lines is what the plain rule says."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts.rclone_s3 import rclone_binary

from oscar_fedcloud.launchers.runner.filters import filter_lines

# few signs, so that rules and paths meet often; among them all that mean something to rclone, a glob or a regex
SIGNS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        ".",
        "*",
        "?",
        "[",
        "{",
        "}",
        "\\",
        "#",
        "+",
        "-",
        " ",
        "$",
        "é",
        "\n",
        "\u201b",
        "\u240a",
        "\uff0e",
    ]
)
WORDS = st.text(SIGNS, max_size=3)
NAMES = st.text(SIGNS, min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
RULES = st.lists(st.one_of(WORDS, PATHS), max_size=3)


def belongs(path: str, prefixes: Sequence[str], suffixes: Sequence[str]) -> bool:
    """The rule, as the existing supervisor has it."""
    return (not prefixes or path.startswith(tuple(prefixes))) and (not suffixes or path.endswith(tuple(suffixes)))


def kept(paths: Sequence[str], prefixes: Sequence[str], suffixes: Sequence[str]) -> tuple[set[str], set[str]]:
    """(files that could be made, those of them that rclone lists with the rule)."""
    with tempfile.TemporaryDirectory() as name:
        tree, rules = Path(name, "tree"), Path(name, "rules")
        tree.mkdir()
        for path in paths:
            try:
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).touch()
            except OSError:  # a folder and a file of one name
                continue
        rules.write_text(filter_lines(prefixes, suffixes), encoding="utf-8")
        made = {str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()}
        command = [rclone_binary(), "copy", "--filter-from", rules, tree, Path(name, "copy")]
        environment = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null", "RCLONE_LOCAL_ENCODING": "Raw"}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        copy = Path(name, "copy")
        return made, {str(file.relative_to(copy)) for file in copy.rglob("*") if file.is_file()}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PATHS, min_size=1, max_size=40), RULES, RULES)
def test_rclone_keeps_what_the_rule_says(paths: list[str], prefixes: list[str], suffixes: list[str]) -> None:
    mixed = [start + path + end for path in paths[:5] for start in ("", *prefixes) for end in ("", *suffixes)]
    joined = [prefix + suffix[length:] for prefix in prefixes for suffix in suffixes for length in range(len(suffix))]
    usable = [path for path in paths + mixed + joined if all(part not in ("", ".", "..") for part in path.split("/"))]
    made, listed = kept(usable, prefixes, suffixes)
    assert listed == {path for path in made if belongs(path, prefixes, suffixes)}


@pytest.mark.parametrize(
    ("prefixes", "suffixes", "expected"),
    [
        ((), (), {"abc", "ab/x.bc", "x/abc", "abxbc", "bc"}),
        (("",), (), {"abc", "ab/x.bc", "x/abc", "abxbc", "bc"}),
        (("ab",), (), {"abc", "ab/x.bc", "abxbc"}),
        (("ab",), ("bc",), {"abc", "ab/x.bc", "abxbc"}),
        (("abc",), ("bc",), {"abc"}),
        (("b",), ("bc",), {"bc"}),
        (("x/", "ab/"), (".bc", "c"), {"ab/x.bc", "x/abc"}),
        (("nothing",), (), set()),
    ],
)
def test_prefix_and_suffix(prefixes: tuple[str, ...], suffixes: tuple[str, ...], expected: set[str]) -> None:
    made, listed = kept(["abc", "ab/x.bc", "x/abc", "abxbc", "bc"], prefixes, suffixes)
    assert len(made) == 5
    assert listed == expected


def test_without_rules_there_are_no_lines() -> None:
    assert filter_lines((), ()) == ""
    assert filter_lines(("",), ()) == ""


def test_every_rule_is_lines_of_printable_ascii() -> None:
    lines = filter_lines(("a\nb", " # ", "}}"), ("\u240a", "é\r"))
    assert lines.isascii()
    assert len(lines.splitlines()) == 2
