# SPDX-License-Identifier: BSD-2-Clause
"""Reads JSON with the position of every member, numbers as they are written, and names that are given twice."""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from json.decoder import scanstring  # type: ignore[attr-defined]  # what the json package itself reads strings with
from typing import Any

from .source import DEEPEST, Node, Source, fail, list_node, mapping_node
from .written import Written

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")


class JsonSyntaxError(Exception):
    """The text is not JSON from this character on."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.message = message


def read_json(text: str, name: str = "") -> Source:
    """Return the document in a JSON text. Raises FdlError with line and column; name: of the file.

    The standard decoder is ten times as fast; what it cannot say is where something is, and which fault it met.
    """
    try:
        data = _DECODER.decode(text)
        if _is_flat(data, DEEPEST):
            return Source.deferred(name, text, data, json_node)
    except (ValueError, RecursionError):
        pass  # told below, with its position
    try:
        return Source(name, text, json_node(text))
    except JsonSyntaxError as error:
        raise fail(name, text, error.index, f"is not JSON: {error.message}") from None


def _mapping_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a name is given twice")
    return mapping


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _is_flat(value: Any, levels: int) -> bool:
    """Whether a value is nested no deeper than so many levels."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        if isinstance(member, (dict, list)) and not (levels > 0 and _is_flat(member, levels - 1)):
            return False
    return True


_DECODER = JSONDecoder(
    object_pairs_hook=_mapping_of, parse_float=Written, parse_int=Written, parse_constant=_no_constant
)


def json_node(text: str) -> Node:
    """Return the tree of a JSON text. Raises JsonSyntaxError."""
    node, end = _value(text, _skip(text, 0), 0)
    end = _skip(text, end)
    if end != len(text):
        raise JsonSyntaxError(end, "something follows the document")
    return node


def _skip(text: str, index: int) -> int:
    return _SPACE.match(text, index).end()  # type: ignore[union-attr]  # it matches nothing, too


def _value(text: str, index: int, level: int) -> tuple[Node, int]:
    if level > DEEPEST:
        raise JsonSyntaxError(index, f"it is nested more than {DEEPEST} levels deep")
    sign = text[index : index + 1]
    if sign == '"':
        value, end = _string(text, index)
        return Node(index, value), end
    if sign == "{":
        return _mapping(text, index, level)
    if sign == "[":
        return _list(text, index, level)
    found = _PLAIN.match(text, index)
    if found is None:
        raise JsonSyntaxError(index, "a value is expected here")
    return Node(index, Written(found.group())), found.end()


def _string(text: str, index: int) -> tuple[str, int]:
    try:
        return scanstring(text, index + 1, True)  # type: ignore[no-any-return]
    except JSONDecodeError as error:
        raise JsonSyntaxError(error.pos, error.msg[0].lower() + error.msg[1:]) from None


def _mapping(text: str, index: int, level: int) -> tuple[Node, int]:
    pairs: list[tuple[int, str, Node]] = []
    end = _skip(text, index + 1)
    while text[end : end + 1] != "}" or pairs:
        if text[end : end + 1] != '"':
            raise JsonSyntaxError(end, "a name in double quotes is expected here")
        at = end
        name, end = _string(text, at)
        end = _expect(text, end, ":")
        node, end = _value(text, end, level + 1)
        pairs.append((at, name, node))
        end = _skip(text, end)
        if text[end : end + 1] == "}":
            break
        end = _expect(text, end, ",")
    return mapping_node(index, pairs), end + 1


def _list(text: str, index: int, level: int) -> tuple[Node, int]:
    members: list[Any] = []
    end = _skip(text, index + 1)
    while text[end : end + 1] != "]" or members:
        node, end = _value(text, end, level + 1)
        members.append(node)
        end = _skip(text, end)
        if text[end : end + 1] == "]":
            break
        end = _expect(text, end, ",")
    return list_node(index, members), end + 1


def _expect(text: str, index: int, sign: str) -> int:
    """The index of what follows a sign and the space around it."""
    index = _skip(text, index)
    if text[index : index + 1] != sign:
        raise JsonSyntaxError(index, f"{sign!r} is expected here")
    return _skip(text, index + 1)
