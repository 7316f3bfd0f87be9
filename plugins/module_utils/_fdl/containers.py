# SPDX-License-Identifier: BSD-2-Clause
"""The types that hold others: lists, mappings and records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .table import Finding, Kind, Spec, Table, table_of


def _item(kind: Kind, secret: bool = False) -> Spec:
    """The declaration that all members of a list or mapping share."""
    return Spec("", kind, None, "", "", False, secret, True, False, ())


class ListOf(Kind):
    """A list, kept as a tuple. ``single``: one value may stand for a list of one, and a list of zeros is empty."""

    container = True

    def __init__(self, kind: Kind, single: bool = False) -> None:
        self.kind = kind
        self.label = "a list"
        self.sensitive = kind.sensitive
        self.single = single
        self._item = _item(kind)

    def read(self, reader: Any, value: Any) -> tuple[Any, ...]:
        if self.single and isinstance(value, (int, str)) and not isinstance(value, bool):
            value = [value]
        if not isinstance(value, (list, tuple)):
            reader.wrong_type(
                self, value, f"write [{value!r}]" if isinstance(value, str) and not self.sensitive else ""
            )
            return ()
        members = tuple([reader.member(index, self._item, member) for index, member in enumerate(value)])
        return members if any(members) or not self.single else ()

    def empty(self) -> tuple[Any, ...]:
        return ()

    def children(self, value: Any) -> list[tuple[Any, Spec, Any]]:
        return [(index, self._item, member) for index, member in enumerate(value)]

    def member(self, part: Any) -> Spec | None:
        return self._item if isinstance(part, int) else None

    def dump(self, value: Any) -> list[Any]:
        dump = self.kind.dump
        return [dump(member) for member in value]

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.kind.schema()}
        return {"anyOf": [schema, self.kind.schema()]} if self.single else schema

    def records(self) -> list[type]:
        return self.kind.records()


class MapOf(Kind):
    """A mapping with free keys of a form, kept as a dict."""

    container = True
    label = "a mapping"

    def __init__(self, kind: Kind, key: str = r"[\s\S]+", rule: str = "", secret: bool = False) -> None:
        self.kind = kind
        self.secret = secret
        self.sensitive = secret or kind.sensitive
        self._key = key
        self._rule = rule
        self._match = re.compile(key).fullmatch
        self._item = _item(kind, secret)

    def read(self, reader: Any, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            reader.wrong_type(self, value)
            return {}
        members: dict[str, Any] = {}
        for key, member in value.items():
            if not isinstance(key, str):
                reader.report(str(key), "is not text, but stands as a name", "put the name in quotes")
            elif member is not None or not reader.zeros:
                members[key] = reader.member(key, self._item, member)
        return members

    def empty(self) -> dict[str, Any]:
        return {}

    def check_name(self, name: str) -> Finding:
        return None if self._match(name) else ("is not a name that can stand here", self._rule)

    def children(self, value: Any) -> list[tuple[Any, Spec, Any]]:
        return [(key, self._item, member) for key, member in value.items()]

    def member(self, part: Any) -> Spec | None:
        return self._item

    def dump(self, value: Any) -> dict[str, Any]:
        dump = self.kind.dump
        return {key: dump(member) for key, member in value.items()}

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self._key})$"},
            "additionalProperties": self.kind.schema(),
        }

    def records(self) -> list[type]:
        return self.kind.records()


class Record(Kind):
    """A dataclass with a field table. ``shorthand``: a number stands for this field alone."""

    container = True
    label = "a mapping"
    struct = True

    def __init__(self, record: type, shorthand: str = "") -> None:
        self.record = record
        self.table: Table = table_of(record)
        self.sensitive = self.table.sensitive
        self.shorthand = shorthand

    def read(self, reader: Any, value: Any) -> Any:
        if self.shorthand and isinstance(value, int) and not isinstance(value, bool):
            value = {self.shorthand: value}
        if not isinstance(value, Mapping):
            reader.wrong_type(self, value)
            return self.empty()
        return self.record(**reader.record(self.table, value))

    def empty(self) -> Any:
        return self.record()

    def children(self, value: Any) -> list[tuple[Any, Spec, Any]]:
        return [(field.name, field, getattr(value, field.name)) for field in self.table.fields]

    def member(self, part: Any) -> Spec | None:
        """A field by its name, by the name that it had in older versions, or by another spelling of capital letters."""
        if part in self.table.moved:
            outer, inner = self.table.moved[part]
            return self.table.names[outer].kind.member(inner)
        return self.table.names.get(part) or self.table.folded.get(str(part).lower())

    def dump(self, value: Any) -> dict[str, Any]:
        document = {}
        for field in self.table.fields:
            member = getattr(value, field.name)
            if member or not field.omit:
                document[field.name] = field.kind.dump(member)
        return document

    def schema(self) -> dict[str, Any]:
        reference = {"$ref": f"#/$defs/{self.table.name}"}
        if not self.shorthand:
            return reference
        return {"anyOf": [reference, self.table.names[self.shorthand].kind.schema()]}

    def records(self) -> list[type]:
        return [self.record]


class Plain(Record):
    """A record that is kept as a dict, with its defaults filled in, or (``sparse``) only with what is there."""

    def __init__(self, record: type, sparse: bool = False) -> None:
        super().__init__(record)
        self._sparse = sparse

    def read(self, reader: Any, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            reader.wrong_type(self, value)
            return self.empty()
        given = reader.record(self.table, value)
        if self._sparse:
            return {field.name: given[field.name] for field in self.table.fields if given.get(field.name)}
        return {field.name: given.get(field.name, field.default) for field in self.table.fields}

    def empty(self) -> dict[str, Any]:
        return {} if self._sparse else {field.name: field.default for field in self.table.fields}

    def children(self, value: Any) -> list[tuple[Any, Spec, Any]]:
        return [(field.name, field, value[field.name]) for field in self.table.fields if field.name in value]

    def dump(self, value: Any) -> dict[str, Any]:
        names = self.table.names
        return {name: names[name].kind.dump(member) for name, member in value.items()}


class Maybe(Kind):
    """A record that may be absent (None)."""

    container = True
    label = "a mapping"
    struct = True

    def __init__(self, kind: Record) -> None:
        self.kind = kind
        self.sensitive = kind.sensitive

    def read(self, reader: Any, value: Any) -> Any:
        return self.kind.read(reader, value)

    def children(self, value: Any) -> list[tuple[Any, Spec, Any]]:
        return [] if value is None else self.kind.children(value)

    def member(self, part: Any) -> Spec | None:
        return self.kind.member(part)

    def dump(self, value: Any) -> Any:
        return None if value is None else self.kind.dump(value)

    def schema(self) -> dict[str, Any]:
        return self.kind.schema()

    def records(self) -> list[type]:
        return self.kind.records()
