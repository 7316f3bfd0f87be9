# SPDX-License-Identifier: BSD-2-Clause
"""The field table: what a dataclass declares about each of its fields, and how to look it up.

``model`` declares every field of the language once, with ``spec``. Parsing, validation, the JSON schema and the
reference page are all driven by these declarations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Optional

Finding = Optional["tuple[str, str]"]
"""None, or what is wrong with a value ("is not …") and what would be right."""


class Kind:
    """The type of a field. The base class takes any value; see ``kinds`` for the others."""

    label = "any value"
    sensitive = False  # whether secrets may stand in it
    text = False  # whether it takes scalars as the text that is written
    container = False  # whether it has members
    struct = False  # whether it is a record

    def read(self, reader: Any, value: Any) -> Any:
        """The typed value of plain data; tells ``reader`` what has the wrong type."""
        return value

    def empty(self) -> Any:
        """Stands in for a value that could not be read."""
        return None

    def check(self, value: Any) -> Finding:
        """What is wrong with a value that has the right type."""
        return None

    def check_name(self, name: str) -> Finding:
        """What is wrong with the name of a member of a container."""
        return None

    def children(self, value: Any) -> list[tuple[Any, Spec, Any]]:
        """The members of a container: name or index, declaration, value."""
        return []

    def member(self, part: Any) -> Spec | None:
        """The declaration of one member of a container, if it has a member of that name."""
        return None

    def dump(self, value: Any) -> Any:
        """The plain data of a typed value; the inverse of ``read``."""
        return value

    def schema(self) -> dict[str, Any]:
        """JSON schema (draft 2020-12) of the plain data."""
        return {}

    def records(self) -> list[type]:
        """The record classes that stand in this kind, for schema and reference."""
        return []


@dataclass(frozen=True)
class Spec:
    """The declaration of one field.

    since: version of OSCAR that brought it, or ``fedcloud`` for our additions. aliases: other spellings of the name.
    secret: values are never shown. effect: whether this server acts on it, or the launcher with which alone it does.
    omit: leave an empty value out of documents.
    """

    name: str
    kind: Kind
    default: Any
    since: str
    meaning: str
    required: bool
    secret: bool
    effect: bool | str
    omit: bool
    aliases: tuple[str, ...]


def spec(
    kind: Kind,
    default: Any,
    since: str,
    meaning: str,
    *,
    required: bool = False,
    secret: bool = False,
    effect: bool | str = True,
    omit: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    """Declare one field in the body of a dataclass."""
    declared = Spec("", kind, default, since, meaning, required, secret, effect, omit, aliases)
    options: dict[str, Any] = {"metadata": {"spec": declared}, "repr": not (secret or kind.sensitive)}
    if isinstance(default, dict):
        options["default_factory"] = dict
    else:
        options["default"] = default
    return dataclasses.field(**options)  # pylint: disable=invalid-field-call  # made for dataclasses of other modules


@dataclass(frozen=True)
class Table:
    """The declarations of one dataclass.

    moved: old place of a field -> where it stands now (dotted). ignored: fields that only a server's answer has.
    """

    name: str
    doc: str
    fields: tuple[Spec, ...]
    names: Mapping[str, Spec]
    folded: Mapping[str, Spec]
    required: tuple[Spec, ...]
    moved: Mapping[str, tuple[str, ...]]
    ignored: frozenset[str]
    sensitive: bool
    private: bool


@lru_cache(maxsize=None)
def table_of(record: type) -> Table:
    """The field table of a dataclass whose fields are declared with ``spec``."""
    fields = tuple(
        dataclasses.replace(entry.metadata["spec"], name=entry.name)
        for entry in dataclasses.fields(record)
        if "spec" in entry.metadata
    )
    names = {name: field for field in fields for name in (field.name, *field.aliases)}
    return Table(
        name=record.__name__,
        doc=" ".join((record.__doc__ or "").split()),
        fields=fields,
        names=names,
        folded={name.lower(): field for name, field in names.items()},
        required=tuple(field for field in fields if field.required),
        moved={old: tuple(new.split(".")) for old, new in getattr(record, "MOVED", {}).items()},
        ignored=frozenset(getattr(record, "IGNORED", ())),
        sensitive=any(field.secret or field.kind.sensitive for field in fields),
        private=getattr(record, "PRIVATE", False),
    )
