# SPDX-License-Identifier: BSD-2-Clause
"""Whether an object of a store starts a service."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Service
from .parts import Input


@dataclass(frozen=True)
class Match:
    """Whether an input takes an object.

    kind: ``match``; ``suffix`` when it lies in the folder, but its name is excluded by suffix or prefix; or ``no``.
    input: index of that input, or -1.
    """

    kind: str
    input: int


_NO = Match("no", -1)


def match(service: Service, provider: str, bucket: str, key: str) -> Match:
    """The first input that takes this object, else the first that only the name keeps out."""
    excluded = _NO
    if key.endswith("/"):
        return excluded
    for index, place in enumerate(service.input):
        if place.bucket != bucket or place.storage_provider != provider or not key.startswith(place.key_prefix):
            continue
        if takes_name(place, key[len(place.key_prefix) :]):
            return Match("match", index)
        if excluded is _NO:
            excluded = Match("suffix", index)
    return excluded


def takes_name(place: Input, name: str) -> bool:
    """Whether a name relative to the folder fits the prefixes and suffixes."""
    return (not place.suffix or name.endswith(place.suffix)) and (not place.prefix or name.startswith(place.prefix))
