# SPDX-License-Identifier: Apache-2.0
"""Formats a plan of the server as a diff with hidden secrets. Pure functions."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from oscar_fedcloud.cli.oscar.text import plural, printable

SIGNS = {"create": "+", "update": "~", "delete": "-"}
_COLOURS = {"+": 32, "-": 31, "~": 33}
_INDENT = "    "
MADE = ("owner", "token")  # added by the server


def lines(plan: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a plan: each service that changes, with the fields that change."""
    for item in plan:
        sign = SIGNS.get(str(item["action"]))
        if sign is None:
            continue
        yield f"{sign} {item['action']} {printable(str(item['name']))}{_revision(item)}"
        yield from _fields(item)


def _short(value: Any) -> Any:
    """Return the value of something new; for a text with many lines, such as a script, the number of lines."""
    return plural(len(value.splitlines()), "line") if _is_text(value) else value


def _revision(item: Mapping[str, Any]) -> str:
    revision = str(item.get("revision") or "")
    return f" (revision {revision})" if revision not in ("", "0") and item["action"] == "update" else ""


def _fields(item: Mapping[str, Any]) -> Iterator[str]:
    changes = [change for change in item["changes"] if change["path"] != "name"]
    if item["action"] == "create":
        usual = _usual()
        for change in changes:
            if not _same(usual, change):
                yield from _leaf("+", change["path"], None, _short(change["after"]))
    elif item["action"] == "update":
        for change in changes:
            sign = "+" if change["before"] is None else "-" if change["after"] is None else "~"
            yield from _leaf(sign, change["path"], change["before"], change["after"])


def _usual() -> Mapping[str, Any]:
    """Return the default fields of a service by the path of each leaf."""
    from oscar_fedcloud.fdl import diff_documents, parse_service, to_document

    given: dict[str, Any] = {"name": "any", "image": "any", "script": "any\n"}
    given |= {each: [{"storage_provider": "minio", "path": f"any/{each}"}] for each in ("input", "output")}
    document = to_document(parse_service(given), secrets=False)
    return {change.path: change.after for change in diff_documents(None, document)}


def _same(usual: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    path = re.sub(r"\[\d+\]", "[0]", change["path"])
    nothing = change["after"] in (None, "", [], {}) or path in MADE
    return nothing or (path in usual and usual[path] == change["after"])


def _leaf(sign: str, path: str, before: Any, after: Any) -> Iterator[str]:
    name = printable(path)
    if _is_text(before) or _is_text(after):
        yield f"{_INDENT}{sign} {name}:"
        yield from _text(before, after)
    elif sign == "~":
        yield f"{_INDENT}{sign} {name}: {_value(before)} -> {_value(after)}"
    else:
        yield f"{_INDENT}{sign} {name}: {_value(before if after is None else after)}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _text(before: Any, after: Any) -> Iterator[str]:
    """Yield the lines of a text that differ, with some context."""
    old, new = (str(value or "").splitlines() for value in (before, after))
    for number, line in enumerate(difflib.unified_diff(old, new, lineterm="", n=2)):
        if number >= 2:  # after the two lines with the names of the files
            yield f"{_INDENT}    {printable(line)}"


def _value(value: Any) -> str:
    if isinstance(value, str) and value and value == value.strip():
        return printable(value)
    return json.dumps(value, sort_keys=True)


def summary(plan: Sequence[Mapping[str, Any]]) -> str:
    """Return how many services a plan creates, updates and deletes."""
    counts = {action: sum(item["action"] == action for item in plan) for action in (*SIGNS, "unchanged", "absent")}
    parts = [f"{counts[action]} to {action}" for action in SIGNS if counts[action]]
    parts += [f"{counts['unchanged']} unchanged"] if counts["unchanged"] else []
    parts += [f"{counts['absent']} not there"] if counts["absent"] else []
    return ", ".join(parts) or "nothing to do"


def coloured(line: str) -> str:
    """Return a line of a plan in the colour of its sign."""
    code = _COLOURS.get(line.lstrip()[:1])
    return f"\x1b[{code}m{line}\x1b[0m" if code else line
