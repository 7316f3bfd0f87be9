#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of variables: in each role's README.md, and docs/variables.md with all roles.

They come from meta/argument_specs.yml, whose texts are in Ansible's markup. In a README the table stands between
``<!-- variables -->`` and ``<!-- /variables -->``; a role without a README.md gets one to begin with. With --check
nothing is written; the files that are not up to date are named.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
START, END = "<!-- variables -->", "<!-- /variables -->"
HEADING = """<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by tools/role_docs.py from the roles' meta/argument_specs.yml; do not edit. -->
# Variables of the roles

Every variable has a default that is right for production, unless it says *required*. Each role checks the types and
choices of its variables before it does anything.
"""

Spec = Mapping[str, Any]


class Problem(Exception):
    """What is wrong, in one sentence."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file is not up to date")
    check = parser.parse_args().check
    try:
        texts = wanted(ROOT)
    except Problem as problem:
        sys.exit(f"role_docs: {problem}")
    stale = [file for file in texts if not file.exists() or file.read_text(encoding="utf-8") != texts[file]]
    if not check:
        for file in stale:
            file.write_text(texts[file], encoding="utf-8")
    names = ", ".join(str(file.relative_to(ROOT)) for file in stale)
    if check and stale:
        sys.exit(f"role_docs: not up to date: {names}; run tools/role_docs.py")
    print(f"Written: {names or 'nothing, all is up to date'}")


def wanted(root: Path) -> dict[Path, str]:
    """The text that each file must have. Raises Problem for a README without its marks."""
    specs = {file.parents[1].name: _read(file) for file in sorted(root.glob("roles/*/meta/argument_specs.yml"))}
    files = {root / "roles" / role / "README.md": _readme(root, role, specs[role]) for role in specs}
    sections = (
        f"\n## {role}\n\n{_sentence(spec['main'])}\n\n{tables(spec)}" for role, spec in specs.items() if "main" in spec
    )
    parts = [HEADING, *sections]
    return {**files, root / "docs" / "variables.md": "".join(parts)}


def _read(file: Path) -> Spec:
    found: Spec = yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]
    return found


def _readme(root: Path, role: str, spec: Spec) -> str:
    file = root / "roles" / role / "README.md"
    text = file.read_text(encoding="utf-8") if file.exists() else _first_readme(role, spec)
    before, start, rest = text.partition(START)
    _old, end, after = rest.partition(END)
    if not start or not end:
        raise Problem(f"roles/{role}/README.md must have the lines {START} and {END}")
    return f"{before}{START}\n{tables(spec)}{END}{after}"


def _first_readme(role: str, spec: Spec) -> str:
    """What a role's README.md is to begin with."""
    about = " ".join([_sentence(spec["main"]), markdown(_text(spec["main"].get("description", "")))]).strip()
    licence = "<!-- SPDX-License-Identifier: Apache-2.0 -->"
    return f"{licence}\n# Role fedcloud.oscar.{role}\n\n{about}\n\n{START}\n{END}\n"


def tables(spec: Spec) -> str:
    """The table of variables, and that of the entry points if there are more than one."""
    variables: dict[str, Spec] = {}
    for entry in spec.values():
        variables = {**entry.get("options", {}), **variables}
    text = "| variable | type | default | meaning |\n|---|---|---|---|\n"
    text += "".join(f"| {' | '.join(row)} |\n" for row in _rows(variables))
    others = [f"| `{name}` | {_entry_point(entry)} |\n" for name, entry in spec.items() if name != "main"]
    if others:
        text += "\n| entry point (`tasks_from`) | what it does |\n|---|---|\n" + "".join(others)
    return text


def _rows(options: Mapping[str, Spec], above: str = "") -> Iterator[tuple[str, str, str, str]]:
    for name, option in options.items():
        yield f"`{above}{name}`", _type(option), _default(option), _meaning(option)
        yield from _rows(option.get("options", {}), f"{above}{name}.")


def _type(option: Spec) -> str:
    kind = option.get("type", "str")
    return f"list of {option.get('elements', 'str')}" if kind == "list" else kind


def _default(option: Spec) -> str:
    if option.get("required"):
        return "*required*"
    if option.get("default") is None:
        return ""
    value = option["default"]
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{_cell(text)}`"


def _meaning(option: Spec) -> str:
    choices = f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}." if option.get("choices") else ""
    return markdown(_text(option.get("description", ""))) + choices


def _entry_point(entry: Spec) -> str:
    return " ".join(filter(None, (_sentence(entry), markdown(_text(entry.get("description", ""))))))


def _sentence(entry: Spec) -> str:
    return markdown(entry["short_description"]).rstrip(".") + "."


def _text(description: str | list[str]) -> str:
    return description if isinstance(description, str) else " ".join(description)


def markdown(text: str) -> str:
    """Ansible's markup as Markdown, in one cell of a table."""
    text = re.sub(r"\b[COVEP]\(((?:[^()]|\([^()]*\))*)\)", r"`\1`", " ".join(text.split()))
    text = re.sub(r"\bM\(([^()#]*)(?:#\w+)?\)", r"`\1`", text)
    text = re.sub(r"\b[IB]\(([^()]*)\)", r"*\1*", text)
    text = re.sub(r"\bL\(([^(),]*), ?([^()]*)\)", r"[\1](\2)", text)
    text = re.sub(r"\bU\(([^()]*)\)", r"<\1>", text)
    return _cell(text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
