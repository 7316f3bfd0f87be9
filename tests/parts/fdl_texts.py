# SPDX-License-Identifier: Apache-2.0
"""Texts of FDL files, with what comes out of each by whichever way it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HEAD = """\
functions:
  oscar:
  - here:
      name: copy
      image: busybox
      script: |
        cat "$INPUT_FILE_PATH"
"""


@dataclass(frozen=True)
class Good:
    """Lines of a service, and what its document holds at some paths."""

    name: str
    lines: str
    document: dict[str, Any]

    def found(self, document: Any) -> dict[str, Any]:
        """What a service's document holds at these paths."""
        return {path: _at(document, path) for path in self.document}


@dataclass(frozen=True)
class Bad:
    """Lines of a service (``whole``: all of the text), and where and by which words it is refused."""

    name: str
    lines: str
    line: int
    column: int
    path: str
    words: str
    whole: bool = False

    @property
    def text(self) -> str:
        return self.lines if self.whole else text_of(self.lines)


def _at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document[int(part)] if part.isdigit() else document[part]
    return document


def text_of(lines: str) -> str:
    """The text of a file whose service has these lines, too; the first of them is line 8."""
    return HEAD + "".join(f"      {line}\n" for line in lines.splitlines())


PLAIN = (
    "1.10",
    "0755",
    "01234",
    "12:30:00",
    "1_000",
    "0x1F",
    "0o17",
    "1e3",
    "+1",
    "-0",
    "1.",
    ".5",
    "yes",
    "NO",
    "on",
    "Off",
    "y",
    "true",
    "FALSE",
    "null",
    "Null",
    "~",
    ".inf",
    "-.INF",
    ".nan",
    "2024-01-01",
    "2001-12-14t21:59:43.10-05:00",
    "99999999999999999999999999",
    "a b",
    "=",
    "<<",
)
"""Scalars that a loader of YAML 1.1 or 1.2 would read as something else than this text."""

_VARIABLES = "\n".join(f"    V{number}: {text}" for number, text in enumerate(PLAIN))

GOOD = (
    Good(
        "plain scalars under variables",
        f"environment:\n  variables:\n{_VARIABLES}",
        {"environment.variables": {f"V{number}": text for number, text in enumerate(PLAIN)}},
    ),
    Good(
        "other forms of scalars",
        "environment:\n  variables:\n"
        '    {A: "1.10", B: \'0755\', C: !!str 1.10, D: ! 0x1F, E: !!int 0x1F, F: , G: "\\u00e9"}',
        {
            "environment.variables": {
                "A": "1.10",
                "B": "0755",
                "C": "1.10",
                "D": "0x1F",
                "E": "0x1F",
                "F": "",
                "G": "é",
            }
        },
    ),
    Good(
        "block scalars",
        "environment:\n  variables:\n    A: |\n      1.10\n      2\n    B: >-\n      one\n      line",
        {"environment.variables": {"A": "1.10\n2\n", "B": "one line"}},
    ),
    Good(
        "anchors and merge keys",
        "environment:\n  variables: &base {A: &v 1.10, B: 0755}\nannotations:\n  <<: *base\n  B: on\n  C: *v",
        {"annotations": {"A": "1.10", "B": "on", "C": "1.10"}, "environment.variables": {"A": "1.10", "B": "0755"}},
    ),
    Good(
        "names that look like something else",
        "environment:\n  variables: {ON: 1, y: 2, NULL: 3, _1: 4}\nlabels: {1.10: 1.10, on: yes}",
        {
            "environment.variables": {"ON": "1", "y": "2", "NULL": "3", "_1": "4"},
            "labels": {"1.10": "1.10", "on": "yes"},
        },
    ),
    Good(
        "text in other fields",
        "cpu: 1.50\nmemory: 1.50Gi\nvo: 1.10\ninput:\n- storage_provider: minio\n  path: 2024-01-01/0755\n"
        "  prefix: [0755, on, 1.10, ~]",
        {"cpu": "1.50", "memory": "1.50Gi", "vo": "1.10", "input.0.prefix": ["0755", "on", "1.10", "~"]},
    ),
    Good(
        "fields with a type of their own",
        "alpine: TRUE\nconcurrency: 0o17\ntimeout: 1h30m\nretry: 3\nexpose: {api_port: 0x50}",
        {"alpine": True, "concurrency": 15, "timeout": 5400, "retry.attempts": 3, "expose.api_port": [80]},
    ),
)

_IN = "functions.oscar[0].here"

BAD = (
    Bad(
        "the same name twice", "memory: 1Gi\nalpine: true\nmemory: 2Gi", 10, 7, f"{_IN}.memory", "line 8 and in line 10"
    ),
    Bad("two inputs", "input: []\ninput: []", 9, 7, f"{_IN}.input", "given twice, in line 8 and in line 9"),
    Bad(
        "the same name twice, deep inside",
        "environment:\n  variables:\n    A: 1\n    'A': 2",
        11,
        11,
        f"{_IN}.environment.variables.A",
        "line 10 and in line 11",
    ),
    Bad(
        "the same name twice behind an alias",
        "environment:\n  variables: &a\n    A: 1\n    A: 2\nannotations: *a",
        11,
        11,
        f"{_IN}.environment.variables.A",
        "line 10 and in line 11",
    ),
    Bad(
        "two merge keys",
        "annotations: &a {x: y}\nlabels:\n  <<: *a\n  <<: *a",
        11,
        9,
        f'{_IN}.labels["<<"]',
        "line 10 and in line 11",
    ),
    Bad("a boolean of YAML 1.1", "alpine: yes", 8, 7, f"{_IN}.alpine", "must be true or false"),
    Bad("a number with an underscore", "concurrency: 1_000", 8, 7, f"{_IN}.concurrency", "must be a whole number"),
    Bad("a huge number", "concurrency: " + "9" * 5000, 8, 7, f"{_IN}.concurrency", "is out of range"),
    Bad("a hexadecimal quantity", "cpu: 0x1F", 8, 7, f"{_IN}.cpu", "'0x1F' is not a CPU quantity"),
    Bad("no memory", "memory: 0", 8, 7, f"{_IN}.memory", "such as 512Mi or 2G"),
    Bad("an empty field", "filter: ~", 8, 7, f"{_IN}.filter", "is empty"),
    Bad("an unknown field", "memry: 1Gi", 8, 7, f"{_IN}.memry", "did you mean memory?"),
    Bad(
        "a member of a list",
        "image_pull_secrets:\n- good\n- Not good",
        10,
        9,
        f"{_IN}.image_pull_secrets[1]",
        "lower-case",
    ),
    Bad(
        "something that is missing",
        "input:\n- path: a-bucket/in",
        9,
        9,
        f"{_IN}.input[0].storage_provider",
        "is required",
    ),
    Bad(
        "a path that no policy can hold",
        "output: [{storage_provider: minio, path: b-b/in*}]",
        8,
        42,
        f"{_IN}.output[0].path",
        "'*'",
    ),
    Bad(
        "a placeholder in a path",
        'output: [{storage_provider: minio, path: "b-b/${x}"}]',
        8,
        42,
        f"{_IN}.output[0].path",
        "'${'",
    ),
    Bad(
        "too many variables",
        "environment: {variables: {A: " + "x" * 200_000 + "}}",
        8,
        7,
        f"{_IN}.environment",
        "130048",
    ),
    Bad(
        "a long name",
        "environment: {variables: {" + "A" * 300 + ": x}}",
        8,
        33,
        f"{_IN}.environment.variables." + "A" * 300,
        "255",
    ),
    Bad(
        "a loop",
        "input: [{storage_provider: minio, path: b-b/x}]\noutput: [{storage_provider: minio, path: b-b/x}]",
        9,
        7,
        f"{_IN}.output",
        "round for ever",
    ),
    Bad("no YAML", "memory: 1Gi: 2", 8, 18, "document", "is not YAML"),
    Bad("a tab", "input:\n\t- x", 9, 7, "document", "not tabs"),
    Bad("a name that is a list", "[a]: b", 8, 7, _IN, "a list or mapping stands where a name is expected"),
    Bad("a template without quotes", "vo: {{ vo }}", 8, 12, f"{_IN}.vo", "in quotes"),
    Bad("an unknown tag", "vo: !secret x", 8, 11, f"{_IN}.vo", "the tag !secret means nothing here"),
    Bad(
        "a tag that is wrong",
        "concurrency: !!int x",
        8,
        20,
        f"{_IN}.concurrency",
        "not what its tag !!int says",
    ),
    Bad("an unknown alias", "vo: *x", 8, 11, "document", "names no anchor"),
    Bad("an alias of itself", "labels: &x {a: *x}", 8, 22, "document", "holds itself"),
    Bad("deep nesting", "labels: " + "[" * 500, 8, 110, "document", "nested more than 100 levels deep"),
    Bad("a second document", "a: b\n---\nc: d\n", 2, 1, "document", "a second document", whole=True),
    Bad("a control character", "a: b\n  \x07", 2, 3, "document", "'\\x07'", whole=True),
    Bad("no mapping", "- a", 1, 1, "document", "is not a mapping", whole=True),
    Bad("nothing", "", 1, 1, "document", "is not a mapping", whole=True),
)
