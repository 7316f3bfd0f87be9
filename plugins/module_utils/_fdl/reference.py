# SPDX-License-Identifier: BSD-2-Clause
"""The reference page of the language, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from .containers import ListOf, MapOf, Maybe, Record
from .file import FdlFile
from .schema import records_of
from .table import Kind, Spec, Table, table_of

_HEAD = """\
<!-- Made by `python -m oscar_fedcloud.fdl --markdown`; change the field table in plugins/module_utils/_fdl instead. -->
# Functions Definition Language

A file is a mapping as below. In a file `script` is the path of a script (relative to the file, or absolute) or its
lines; in a document of the API it is the content. Memory and CPU are Kubernetes quantities (`512Mi`, `2G`, `500m`,
`0.5`), durations are seconds or forms such as `30s`, `5m`, `1h30m`.

"Since" is the version of OSCAR that brought a field, the series alone where a minor version is not recorded; `fedcloud`
marks our additions. Fields marked † are accepted and kept, but have no effect on this server yet, those marked § only
where jobs run in Kubernetes; the plan says so.
Values marked ‡ are secret: they are never shown again. All spellings of older versions are read: they are named with
the field that took their place.

An output that can start its own service again, directly or through other services, is refused: when one of the two
folders lies in the other and a file name can fit the prefixes and suffixes of both. When only the suffixes or a filter
stand in the way, it is a warning.
"""


def markdown() -> str:
    """The page: one table for each record, in order of appearance."""
    return "\n".join([_HEAD, *(_section(table_of(record)) for record in records_of(FdlFile))])


def _section(table: Table) -> str:
    lines = [
        f"## {table.name}",
        "",
        table.doc,
        "",
        "| field | type | default | since | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(table, field) for field in table.fields]
    return "\n".join([*lines, ""])


def _row(table: Table, field: Spec) -> str:
    effect = " §" if isinstance(field.effect, str) else "" if field.effect else " †"
    marks = effect + (" ‡" if field.secret or _holds_secrets(field.kind) else "")
    meaning = " ".join([field.meaning, *_older(table, field)])
    cells = (f"`{field.name}`{marks}", _type(field.kind), _default(field), field.since, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _older(table: Table, field: Spec) -> Iterator[str]:
    old = [*field.aliases, *(name for name, (group, _name) in table.moved.items() if group == field.name)]
    if old:
        yield "Also read: " + ", ".join(f"`{name}`" for name in old) + "."


def _holds_secrets(kind: Kind) -> bool:
    return isinstance(kind, MapOf) and kind.secret


def _type(kind: Kind) -> str:
    if isinstance(kind, ListOf):
        return f"list of {_type(kind.kind)}" + (", or one" if kind.single else "")
    if isinstance(kind, MapOf):
        return f"mapping of {_type(kind.kind)}"
    if isinstance(kind, Maybe):
        return _type(kind.kind)
    if isinstance(kind, Record):
        name = kind.table.name
        return f"[{name}](#{name.lower()})" + (f", or its `{kind.shorthand}`" if kind.shorthand else "")
    return kind.label


def _default(field: Spec) -> str:
    if field.required:
        return "required"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, (str, int, float)) and field.default != "":
        return f"`{field.default}`"
    return ""
