# SPDX-License-Identifier: Apache-2.0
"""Parse the list of objects that ``runner.sh`` stored. The Job's user may have written it, so it is not trusted.

A line is ``output=<index> <MD5> <size> <name>``: the index of the service's output, MD5 or size empty if unknown, and
the path below the output's folder as rclone writes it. Other lines, and paths outside the folder, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from oscar_fedcloud.domain.runs import OutputPlace, StoredObject
from oscar_fedcloud.storage.rclone import key_of

OUTPUTS_MAX = 10_000  # recorded for an attempt
LIST_MAX = 16 * 1024 * 1024  # bytes of a list
_KEY_MAX = 1024  # bytes, as in S3
_SIZE_MAX = 2**63 - 1
_SINGLE_PART = 200 * 1024 * 1024  # bytes; the eTag of larger objects is not an MD5 sum (RCLONE_S3_UPLOAD_CUTOFF)
_LINE = re.compile(rb"output=([0-9]{1,4}) ([0-9a-f]{32})? ([0-9]{1,19})? ([^\n]+)")


def parse_outputs(content: bytes, places: Sequence[OutputPlace]) -> tuple[StoredObject, ...]:
    """Return the objects of a list, at most ``OUTPUTS_MAX``. places: the outputs that the attempt may write to."""
    found: dict[tuple[int, str], StoredObject] = {}
    for line in content[:LIST_MAX].split(b"\n"):
        if len(found) == OUTPUTS_MAX:
            break
        for index, stored in _parse(line, places):
            found[index, stored.key] = stored
    return tuple(found.values())


def _parse(line: bytes, places: Sequence[OutputPlace]) -> Iterator[tuple[int, StoredObject]]:
    """Yield the object of a valid line."""
    match = _LINE.fullmatch(line)
    if match is None or int(match[1]) >= len(places):
        return
    try:
        path = key_of(match[4].decode())
    except UnicodeDecodeError:
        return
    place = places[int(match[1])]
    key = f"{place.folder}/{path}" if place.folder else path
    size = int(match[3]) if match[3] else None
    if not _is_below(path) or len(key.encode()) > _KEY_MAX or (size or 0) > _SIZE_MAX:
        return
    etag = match[2].decode() if match[2] and size is not None and size < _SINGLE_PART else ""
    yield int(match[1]), StoredObject(place.provider, place.bucket, key, size, etag)


def _is_below(path: str) -> bool:
    return "\0" not in path and not {"", ".", ".."} & set(path.split("/"))
