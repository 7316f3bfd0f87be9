# SPDX-License-Identifier: BSD-2-Clause
"""Endless loops: services whose outputs start themselves again, directly or through others."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .model import Service
from .parts import Input, Output
from .problem import FdlProblem

_Place = tuple[str, tuple[int, int], Service, Input]
"""Key prefix, number of service and input (which keeps comparisons from reaching the service), service, input."""


@dataclass(frozen=True)
class Loop:
    """A way in which files can go round for ever.

    services: the names in order of flow, the first in the alphabet first. path: where each writes for the next one, as
    ``provider:bucket/folder``. breakable: a suffix or a filter stands in the way, so that it is worth a warning only.
    """

    services: tuple[str, ...]
    path: tuple[str, ...]
    breakable: bool
    message: str


@dataclass(frozen=True)
class _Flow:
    """What one service writes can start another. broken_by: what may prevent it, in words, or ""."""

    source: str
    target: str
    place: str
    broken_by: str


_Graph = Mapping[str, Sequence[_Flow]]


def find_loops(services: Iterable[Service]) -> list[Loop]:
    """The loops of a whole catalogue, those without a way out first.

    An output can start an input when both are in one bucket, one folder lies in the other, and a name can fit the
    prefixes of both. When no name fits the suffixes of both, or the started service has a filter, it is breakable.
    """
    flows = _without_beginnings(list(_flows(list(services))))
    flows.sort(key=lambda flow: (bool(flow.broken_by), flow.source, flow.target, flow.place))
    certain = _graph(flow for flow in flows if not flow.broken_by)
    every = _graph(flows)
    loops: dict[frozenset[tuple[str, str]], Loop] = {}
    for flow in flows:
        back = _way(every if flow.broken_by else certain, flow.target, flow.source)
        if back is not None:
            cycle = [flow, *back]
            loops.setdefault(frozenset((step.source, step.target) for step in cycle), _loop(cycle))
    return list(loops.values())


def loop_problem(loop: Loop, place: str) -> FdlProblem:
    """Return a loop as a problem of the outputs of the service at ``place``, one of its services."""
    names = " -> ".join((*loop.services, loop.services[0]))
    hint = "write the output to another folder or bucket, or give the input a suffix that its outputs do not have"
    return FdlProblem(f"{place}.output", names, loop.message, hint)


def _flows(services: Sequence[Service]) -> Iterator[_Flow]:
    places = _places(services)
    for service in services:
        for output in service.output:
            inputs = places.get((output.storage_provider, output.bucket), [])
            for target, taken in _overlapping(inputs, output.key_prefix):
                if not _prefixes_fit(output, taken):
                    continue
                broken_by = "" if _suffixes_fit(output, taken) else f"the suffixes of {target.name}'s input"
                if target.filter and not broken_by:
                    broken_by = f"the filter of {target.name}"
                yield _Flow(service.name, target.name, f"{output.storage_provider}:{output.path}", broken_by)


def _places(services: Sequence[Service]) -> dict[tuple[str, str], list[_Place]]:
    """All inputs by provider and bucket, sorted by key prefix."""
    places: dict[tuple[str, str], list[_Place]] = {}
    for number, service in enumerate(services):
        for index, place in enumerate(service.input):
            group = places.setdefault((place.storage_provider, place.bucket), [])
            group.append((place.key_prefix, (number, index), service, place))
    for group in places.values():
        group.sort(key=lambda entry: entry[:2])
    return places


def _overlapping(inputs: list[_Place], prefix: str) -> Iterator[tuple[Service, Input]]:
    """The inputs whose folder lies in this one, or in which it lies."""
    outer = ["", *(prefix[: index + 1] for index, character in enumerate(prefix) if character == "/")]
    for folder in dict.fromkeys([*outer, prefix]):
        position = bisect_left(inputs, (folder,))
        while position < len(inputs) and _lies_there(inputs[position][0], folder, prefix):
            yield inputs[position][2], inputs[position][3]
            position += 1


def _lies_there(place: str, folder: str, prefix: str) -> bool:
    """An outer folder counts only itself; the written folder also what lies in it."""
    return place == folder if folder != prefix else place.startswith(prefix)


def _prefixes_fit(output: Output, place: Input) -> bool:
    """Whether some key can start as the output's rule asks and as the input's rule asks."""
    starts = [output.key_prefix + start for start in output.prefix or ("",)]
    wanted = [place.key_prefix + start for start in place.prefix or ("",)]
    return any(one.startswith(other) or other.startswith(one) for one in starts for other in wanted)


def _suffixes_fit(output: Output, place: Input) -> bool:
    """Whether some name can end as the output's rule asks and as the input's rule asks."""
    wanted = place.suffix or ("",)
    return any(one.endswith(other) or other.endswith(one) for one in output.suffix or ("",) for other in wanted)


def _graph(flows: Iterable[_Flow]) -> _Graph:
    graph: dict[str, list[_Flow]] = {}
    for flow in flows:
        graph.setdefault(flow.source, []).append(flow)
    return graph


def _without_beginnings(flows: Sequence[_Flow]) -> list[_Flow]:
    """The flows that a loop leads to; those of plain chains are taken away from the beginning."""
    graph = _graph(flows)
    arriving: dict[str, int] = {}
    for flow in flows:
        arriving[flow.target] = arriving.get(flow.target, 0) + 1
    beginnings = [name for name in graph if name not in arriving]
    gone = set(beginnings)
    while beginnings:
        for flow in graph.get(beginnings.pop(), ()):
            arriving[flow.target] -= 1
            if not arriving[flow.target]:
                gone.add(flow.target)
                beginnings.append(flow.target)
    return [flow for flow in flows if flow.source not in gone]


def _way(graph: _Graph, start: str, goal: str) -> list[_Flow] | None:
    """The shortest chain of flows from one service to another; an empty one to itself."""
    came_by: dict[str, _Flow | None] = {start: None}
    queue = deque([start])
    while queue and goal not in came_by:
        for flow in graph.get(queue.popleft(), ()):
            if flow.target not in came_by:
                came_by[flow.target] = flow
                queue.append(flow.target)
    if goal not in came_by:
        return None
    way: list[_Flow] = []
    step = came_by[goal]
    while step is not None:
        way.insert(0, step)
        step = came_by[step.source]
    return way


def _loop(cycle: list[_Flow]) -> Loop:
    first = min(range(len(cycle)), key=lambda index: cycle[index].source)
    cycle = cycle[first:] + cycle[:first]
    steps = "; ".join(f"{flow.source} writes to {flow.place}, which starts {flow.target}" for flow in cycle)
    reasons = sorted({flow.broken_by for flow in cycle if flow.broken_by})
    message = f"files may go round for ever unless {' or '.join(reasons)} stops them: {steps}"
    return Loop(
        services=tuple(flow.source for flow in cycle),
        path=tuple(flow.place for flow in cycle),
        breakable=bool(reasons),
        message=message if reasons else f"files would go round for ever: {steps}",
    )
