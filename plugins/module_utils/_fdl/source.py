# SPDX-License-Identifier: BSD-2-Clause
"""A document together with the text that it was read from: which line and column each of its members is in."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .problem import FdlError, FdlProblem, Part, join, printable, under

DEEPEST = 100
"""Levels of nesting that a document may have."""

MOST_ADDED = 100_000
"""Values that aliases may add to those that are written."""

Place = TypeVar("Place")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a node itself. name: the member concerned, or "". earlier: index of its first use, or -1."""

    index: int
    name: str
    text: str
    hint: str
    earlier: int = -1


@dataclass(frozen=True)
class Node:
    """A scalar (str or Written), a list of nodes, or a mapping of names to the index of the name and a node.

    index: where it begins in the text, in characters. size: how many values it holds, those of aliases included.
    """

    index: int
    value: Any
    faults: tuple[Fault, ...] = ()
    size: int = 1
    height: int = 0


def list_node(index: int, members: list[Node], faults: tuple[Fault, ...] = ()) -> Node:
    """Return the node of a list."""
    return Node(index, members, faults, *_measure(members))


def mapping_node(index: int, pairs: Iterable[tuple[int, str, Node]], faults: tuple[Fault, ...] = ()) -> Node:
    """Return the node of a mapping whose members are given as index of the name, name, and node."""
    members: dict[str, tuple[int, Node]] = {}
    found = list(faults)
    for at, name, node in pairs:
        if name in members:
            text = f"{printable(name) or 'a name without text'} is given twice"
            found.append(Fault(at, name, text, "give it once", members[name][0]))
        else:
            members[name] = (at, node)
    return Node(index, members, tuple(found), *_measure([node for _at, node in members.values()]))


def _measure(members: list[Node]) -> tuple[int, int]:
    return 1 + sum([node.size for node in members]), 1 + max([node.height for node in members], default=0)


class Source:
    """A document and its text. name: of the file, "" for a request. ``data``: with scalars as they are written."""

    data: Any
    _compose: Callable[[str], Node]

    def __init__(self, name: str, text: str, root: Node) -> None:
        """Raise FdlError when the text gives a name twice, or has another fault of its own."""
        self._begin(name, text)
        self._root: Node | None = root
        faults = sorted(_faults(root), key=lambda found: found[1].index)
        if faults:
            raise FdlError([self._problem(path, fault) for path, fault in faults])
        self.data = _data(root, {})

    @classmethod
    def deferred(cls, name: str, text: str, data: Any, compose: Callable[[str], Node]) -> Source:
        """Return a source whose data is known to be sound; the tree is made when a position is asked for."""
        source = cls.__new__(cls)
        source._begin(name, text)
        source._root = None
        source._compose = compose
        source.data = data
        return source

    def _begin(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._starts: list[int] = []
        self._known: dict[str, int] = {}

    @property
    def root(self) -> Node:
        """The tree of the text."""
        if self._root is None:
            self._root = self._compose(self.text)
        return self._root

    def locate(self, path: str) -> tuple[int, int]:
        """Return line and column, from 1, of the field at a path, or of the nearest one above that is there."""
        if not self._known:
            self._known = dict(_indices(self.root))
        return self._position(nearest_place(path, self._known, self.root.index))

    def places(self) -> dict[str, tuple[int, int]]:
        """Return line and column of every path."""
        return {path: self._position(index) for path, index in _indices(self.root)}

    def placed(self, problems: Iterable[FdlProblem], named: str = "", below: str = "") -> list[FdlProblem]:
        """Return the problems with file, line and column.

        named: what the paths of the problems start with, in place of ``below``, which is where their document stands.
        """
        return [self._placed(problem, named, below) for problem in problems]

    def _placed(self, problem: FdlProblem, named: str, below: str) -> FdlProblem:
        rest = problem.path[len(named) :] if problem.path.startswith(named) else problem.path
        line, column = self.locate(under(below, rest.lstrip(".")) if below else rest.lstrip("."))
        return replace(problem, file=self.name, line=line, column=column)

    def _problem(self, path: str, fault: Fault) -> FdlProblem:
        line, column = self._position(fault.index)
        text = fault.text
        if fault.earlier >= 0:
            text += f", in line {self._position(fault.earlier)[0]} and in line {line}"
        where = join(path, fault.name) if fault.name else path
        return FdlProblem(where or "document", None, text, fault.hint, self.name, line, column)

    def _position(self, index: int) -> tuple[int, int]:
        if not self._starts:
            self._starts = line_starts(self.text)
        return position(self._starts, index)


def nearest_place(path: str, known: Mapping[str, Place], whole: Place) -> Place:
    """Return what is known of a path, else of the nearest one above it; ``whole`` is that of the document."""
    end = len(path)
    while end > 0 and path[:end] not in known:
        end = max(path.rfind(".", 0, end), path.rfind("[", 0, end))
    return known.get(path[: max(end, 0)], whole)


def line_starts(text: str) -> list[int]:
    """Return the index of the first character of each line."""
    return [0, *(found.end() for found in _LINE_BREAK.finditer(text))]


def position(starts: list[int], index: int) -> tuple[int, int]:
    """Return line and column, from 1, of a character."""
    line = bisect_right(starts, index)
    return line, index - starts[line - 1] + 1


def fail(name: str, text: str, index: int, message: str, hint: str = "") -> FdlError:
    """Return the error of a text that cannot be read beyond this character."""
    line, column = position(line_starts(text), index)
    return FdlError([FdlProblem("document", None, message, hint, name, line, column)])


def _data(node: Node, known: dict[int, Any]) -> Any:
    """The plain data of a node; a node that several aliases name is one object."""
    if isinstance(node.value, str):
        return node.value
    if id(node) not in known:
        if isinstance(node.value, list):
            known[id(node)] = [_data(member, known) for member in node.value]
        else:
            known[id(node)] = {name: _data(member, known) for name, (_at, member) in node.value.items()}
    return known[id(node)]


def _members(node: Node) -> Iterator[tuple[Part, int, Node]]:
    if isinstance(node.value, list):
        for number, member in enumerate(node.value):
            yield number, member.index, member
    elif isinstance(node.value, dict):
        for name, (at, member) in node.value.items():
            yield name, at, member


def _indices(node: Node, path: str = "") -> Iterator[tuple[str, int]]:
    for part, at, member in _members(node):
        place = join(path, part)
        yield place, at
        yield from _indices(member, place)


def _faults(root: Node) -> list[tuple[str, Fault]]:
    """The faults of all nodes with the paths of these; what several aliases name is looked at once."""
    waiting: list[tuple[str, Node]] = [("", root)]
    seen = set()
    found: dict[Fault, str] = {}
    while waiting:
        path, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for fault in node.faults:
            found.setdefault(fault, path)
        waiting += [(join(path, part), member) for part, _at, member in _members(node)][::-1]
    return [(path, fault) for fault, path in found.items()]
