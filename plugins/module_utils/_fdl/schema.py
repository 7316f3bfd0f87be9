# SPDX-License-Identifier: BSD-2-Clause
"""The JSON schema of FDL files, for editors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .file import FdlFile
from .table import Kind, Spec, Table, table_of


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a whole file; ``$defs.Service`` is that of one service.

    It knows the types and forms of values, not the rules between fields.
    """
    definitions = {table_of(record).name: _definition(table_of(record)) for record in records_of(FdlFile)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Functions Definition Language",
        **definitions.pop(FdlFile.__name__),
        "$defs": definitions,
    }


def records_of(record: type) -> list[type]:
    """A record and all that stand in it, in order of appearance."""
    found = [record]
    for field in table_of(record).fields:
        for inner in field.kind.records():
            found += [other for other in records_of(inner) if other not in found]
    return found


def _definition(table: Table) -> dict[str, Any]:
    required = [field.name for field in table.required if not field.aliases]
    return {
        "description": table.doc,
        "type": "object",
        **({"required": required} if required else {}),
        "properties": dict(_properties(table)),
        "additionalProperties": False,
    }


def _properties(table: Table) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in table.fields:
        yield field.name, _described(field)
        for alias in field.aliases:
            yield alias, {**field.kind.schema(), "description": f"Same as {field.name}.", "deprecated": True}
    for old, (group, name) in table.moved.items():
        inner = _member(table.names[group].kind, name)
        yield old, {**inner.kind.schema(), "description": f"Now {group}.{name}.", "deprecated": True}
    for name in sorted(table.ignored):
        yield name, {"description": "Only in answers of a server; ignored.", "readOnly": True}


def _described(field: Spec) -> dict[str, Any]:
    schema = {**field.kind.schema(), "description": field.meaning}
    if not field.required and isinstance(field.default, (str, bool, int, float)):
        schema["default"] = field.default
    return schema


def _member(kind: Kind, name: str) -> Spec:
    spec = kind.member(name)
    if spec is None:
        raise LookupError(f"there is no field {name} to move to")
    return spec
