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

Scalars without quotes are text as they are written wherever a field is text: `1.10`, `0755`, `yes`, `12:30:00` and
`~` in `environment.variables`, in lists and in names are just that. Fields with a type of their own are read by the
core schema of YAML 1.2: booleans are `true` and `false` (also `True`, `TRUE`), `0o17` is octal, `010` is ten. JSON is
read the same way: the number `1.10` is the text `1.10` where text is expected. A name that is given twice in a
mapping is an error, which names both lines. Anchors, aliases and merge keys (`<<`) can be used; they may add 100,000
values at most, and nothing may be nested more than 100 levels deep. `!vault` is decrypted by the Ansible module
alone.

Variables and secrets of a service have at most 127 KiB together, a script 640 KiB. Their values are never expanded:
in `PATH: "/opt/x/bin:$PATH"` the last part stays as it is, and `validate` warns of it.

`oscar validate FDL...` (also `oscar-fedcloud validate`) checks files, `-` for standard input, or whole folders, in
which FDL files are called `fdl.yml` or `NAME.fdl.yml` (or `.yaml`, `.json`). Each problem is one line,
`file:line:column: path: what is wrong; what is right`; the position is that of the field's name, or of the list's
member. It also tells what no server of this version can use, and with `--server URL` it asks that server for its
plan. `--output json` gives the same as data. Exit codes: 0 is valid (there may be warnings), 1 is problems, 2 is that
nothing could be checked. The module and the API report the same problems with the same positions.

The script of a file lies in the folder of the file. The module reads it elsewhere only from folders that its option
`script_folders` names; `validate` warns of such a script. Links are followed before this is decided.

"Since" is the version of OSCAR that brought a field, the series alone where a minor version is not recorded; `fedcloud`
marks our additions. Fields marked † are accepted and kept, but have no effect on this server yet, those marked § only
where jobs run in Kubernetes; the plan says so.
Values marked ‡ are secret: they are never shown again. All spellings of older versions are read: they are named with
the field that took their place.

An output that can start its own service again, directly or through other services, is refused: when one of the two
folders lies in the other and a file name can fit the prefixes and suffixes of both. When only the suffixes or a filter
stand in the way, it is a warning.

A script may say in one line what came of its work: the first line of the file `.summary` directly in `TMP_OUTPUT_DIR`,
at most 80 characters of it, without control characters. It is kept with the attempt, also when the script fails, and
shown as `Result` by `oscar job`, as the remark on a job in lists, and as `summary` by the API.
The file itself is no output.

```sh
cellcount "$INPUT_FILE_PATH" >"$TMP_OUTPUT_DIR/cells.csv"
echo "$(wc -l <"$TMP_OUTPUT_DIR/cells.csv") cells found" >"$TMP_OUTPUT_DIR/.summary"
```
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
