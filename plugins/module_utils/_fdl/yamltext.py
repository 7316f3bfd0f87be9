# SPDX-License-Identifier: BSD-2-Clause
"""Reads YAML with the position of every member and scalars as they are written, from the events of a YAML parser.

The parser itself is the caller's (``functools.partial(yaml.parse, Loader=yaml.CSafeLoader)``), since the model of the
language needs nothing but the standard library. Events come one by one, so that a hostile text ends the reading early.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .jsontext import JsonSyntaxError, json_node
from .source import DEEPEST, MOST_ADDED, Fault, Node, Source, fail, list_node, mapping_node
from .written import Written

Parse = Callable[[str], Iterable[Any]]
Tags = Mapping[str, Callable[[str], str]]

_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_YAML = "tag:yaml.org,2002:"
_TYPES = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
_MERGE = "<<"
_TOO_DEEP = f"is nested more than {DEEPEST} levels deep"


class YamlSyntaxError(Exception):
    """The text cannot be read beyond this character."""

    def __init__(self, index: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.hint = hint


def read_text(content: bytes | str, parse: Parse, name: str = "", tags: Tags | None = None) -> Source:
    """Return the document in a text of YAML or JSON. Raises FdlError with line and column.

    parse: gives the events of a YAML text, as PyYAML's ``parse`` does. name: of the file. tags: what may stand before a
    scalar beyond YAML's own tags, each with a function that makes the text; it may raise ValueError.
    """
    text = decode(content, name)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return Source(name, text, json_node(text))
        except JsonSyntaxError as error:
            if name.endswith(".json"):
                raise fail(name, text, error.index, f"is not JSON: {error.message}") from None
    try:
        control = _CONTROL.search(text)
        if control:
            raise YamlSyntaxError(control.start(), f"holds the character {control.group()!r}", "leave it out")
        return Source(name, text, _Composer(tags or {}).compose(parse(text)))
    except YamlSyntaxError as error:
        raise fail(name, text, error.index, error.message, error.hint) from None
    except Exception as error:  # the parser's own errors: their class is in a library that is not imported here
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is None:
            raise
        reason = " ".join(str(getattr(error, "problem", None) or getattr(error, "context", "")).split())
        if "nesting depth" in reason:  # libyaml has a limit of its own
            raise fail(name, text, mark.index, _TOO_DEEP) from None
        hint = "indent with spaces, not tabs" if text[mark.index : mark.index + 1] == "\t" else ""
        raise fail(name, text, mark.index, f"is not YAML: {reason}{_begun(error, mark)}", hint) from None


def _begun(error: Any, mark: Any) -> str:
    """Where what the parser could not read to its end begins, if that is another line."""
    begun = getattr(error, "context_mark", None)
    if begun is None or begun.line == mark.line or not error.context:
        return ""
    return f" ({error.context} that begins in line {begun.line + 1})"


def decode(content: bytes | str, name: str = "") -> str:
    """Return the text of a file in UTF-8, without a byte order mark. Raises FdlError with line and column."""
    if isinstance(content, str):
        return content[1:] if content.startswith("\ufeff") else content
    content = content[3:] if content.startswith(b"\xef\xbb\xbf") else content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        raise fail(name, before, len(before), "is not text in UTF-8", "save the file in UTF-8") from None


class _Open:
    """A list or mapping whose end has not come yet."""

    def __init__(self, event: Any, is_list: bool) -> None:
        self.index: int = event.start_mark.index
        self.anchor: str | None = event.anchor
        self.faults = _collection_faults(event, is_list)
        self.is_list = is_list
        self.members: list[Node] = []

    def node(self) -> Node:
        if self.is_list:
            return list_node(self.index, self.members, self.faults)
        return _mapping(self.index, self.members, self.faults)


class _Composer:
    """Puts the tree together."""

    def __init__(self, tags: Tags) -> None:
        self.tags = tags
        self.anchors: dict[str, Node | None] = {}
        self.open: list[_Open] = []
        self.root: Node | None = None
        self.written = 0  # values

    def compose(self, events: Iterable[Any]) -> Node:
        """Return the only document. Raises YamlSyntaxError, and what the parser raises."""
        for event in events:
            handler = getattr(self, "_" + type(event).__name__, None)
            if handler is not None:
                handler(event)
        return self.root if self.root is not None else Node(0, Written(""))

    def _ScalarEvent(self, event: Any) -> None:
        self._done(event.anchor, _scalar(event, self.tags))

    def _AliasEvent(self, event: Any) -> None:
        index = event.start_mark.index
        if event.anchor not in self.anchors:
            raise YamlSyntaxError(index, f"*{event.anchor} names no anchor above it", f"write &{event.anchor} first")
        node = self.anchors[event.anchor]
        if node is None:
            raise YamlSyntaxError(index, f"*{event.anchor} holds itself", "leave it out")
        if len(self.open) + node.height > DEEPEST:
            raise _too_deep(index)
        self._add(node)

    def _SequenceStartEvent(self, event: Any) -> None:
        self._begin(event, True)

    def _MappingStartEvent(self, event: Any) -> None:
        self._begin(event, False)

    def _SequenceEndEvent(self, event: Any) -> None:
        self._end()

    def _MappingEndEvent(self, event: Any) -> None:
        self._end()

    def _DocumentStartEvent(self, event: Any) -> None:
        if self.root is not None:
            raise YamlSyntaxError(event.start_mark.index, "a second document begins here", "write one in each file")

    def _begin(self, event: Any, is_list: bool) -> None:
        if len(self.open) >= DEEPEST:
            raise _too_deep(event.start_mark.index)
        self.open.append(_Open(event, is_list))
        if event.anchor:
            self.anchors[event.anchor] = None

    def _end(self) -> None:
        ended = self.open.pop()
        node = ended.node()
        if node.size > self.written + MOST_ADDED:
            hint = f"write out what *aliases stand for, or at most {MOST_ADDED} values more than are written"
            raise YamlSyntaxError(node.index, "aliases make too much of it", hint)
        self._done(ended.anchor, node)

    def _done(self, anchor: str | None, node: Node) -> None:
        self.written += 1
        if anchor:
            self.anchors[anchor] = node
        self._add(node)

    def _add(self, node: Node) -> None:
        if self.open:
            self.open[-1].members.append(node)
        else:
            self.root = node


def _too_deep(index: int) -> YamlSyntaxError:
    return YamlSyntaxError(index, _TOO_DEEP)


def _scalar(event: Any, tags: Tags) -> Node:
    index, text, tag = event.start_mark.index, event.value, event.tag
    if tag is None:
        return Node(index, Written(text) if event.implicit[0] else text)
    if tag in ("!", _YAML + "str"):
        return Node(index, text)
    if tag in tags:
        try:
            return Node(index, tags[tag](text))
        except ValueError as error:
            return Node(index, "", (Fault(index, "", f"{tag} cannot be read: {error}", ""),))
    types = _TYPES.get(tag[len(_YAML) :]) if tag.startswith(_YAML) else None
    if types and type(Written(text).value()) in types:
        return Node(index, Written(text))
    short = tag.replace(_YAML, "!!")
    found = f"the value is not what its tag {short} says" if types else f"the tag {short} means nothing here"
    hint = "only a module of Ansible can decrypt it" if tag.startswith("!vault") else "leave it out"
    return Node(index, "", (Fault(index, "", found, hint),))


def _collection_faults(event: Any, is_list: bool) -> tuple[Fault, ...]:
    if event.tag in (None, "!", _YAML + ("seq" if is_list else "map")):
        return ()
    short = event.tag.replace(_YAML, "!!")
    return (Fault(event.start_mark.index, "", f"the tag {short} means nothing here", "leave it out"),)


def _mapping(index: int, members: list[Node], faults: tuple[Fault, ...]) -> Node:
    """The mapping of names and values in turn. What it merges stands first; what it says itself wins."""
    own: list[tuple[int, str, Node]] = []
    merged: dict[str, tuple[int, str, Node]] = {}
    found = list(faults)
    for key, value in zip(members[::2], members[1::2]):
        if not isinstance(key.value, str):
            hint = "put text that begins with { or [ in quotes"
            found.append(Fault(key.index, "", "a list or mapping stands where a name is expected", hint))
        elif key.value == _MERGE and isinstance(key.value, Written):
            own.append((key.index, _MERGE, value))
        else:
            own.append((key.index, str(key.value), value))
        found.extend(key.faults)
    whole = mapping_node(index, own, tuple(found))
    if _MERGE not in whole.value:
        return whole
    at, value = whole.value.pop(_MERGE)
    sources = value.value if isinstance(value.value, list) else [value]
    if not all(isinstance(source.value, dict) for source in sources):
        text, hint = "<< merges something that is no mapping", "write <<: *alias of a mapping, or a list of these"
        return mapping_node(
            index, [(i, n, v) for n, (i, v) in whole.value.items()], (*whole.faults, Fault(at, "", text, hint))
        )
    for source in sources:
        for name, (where, node) in source.value.items():
            merged.setdefault(name, (where, name, node))
    merged.update({name: (where, name, node) for name, (where, node) in whole.value.items()})
    # Faults of the merged mappings are told where they are written, unless they are written here.
    inner = tuple(fault for source in sources for fault in source.faults)
    return mapping_node(index, merged.values(), (*whole.faults, *inner))
