# SPDX-License-Identifier: Apache-2.0
"""Encode object keys as in events, and check which keys can be stored and staged as files."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote_plus, unquote_plus

_LONGEST = 1024  # bytes of a key, the limit of S3
_LONGEST_SEGMENT = 255  # bytes of a file name, and so of a path segment in a folder and in MinIO
DEPTH_HEADER = "x-amz-meta-oscar-depth"  # user metadata of every output: the number of services before it


def decode_key(text: str) -> str:
    """Decode a key from the query-escaped form of S3 events. Bytes that are not UTF-8 become surrogates."""
    return unquote_plus(text, errors="surrogateescape")


def encode_key(key: str) -> str:
    """Encode a key in the query-escaped form of S3 events."""
    return quote_plus(key, errors="surrogateescape")


def stageable(key: str) -> bool:
    """Return whether a key can be a file below a folder: no empty, ``.`` or ``..`` path segment, and no NUL."""
    return "\0" not in key and all(segment not in ("", ".", "..") for segment in key.split("/"))


def unstorable(key: str) -> str:
    """Return why no supported store can hold an object of this key, or ""."""
    try:
        name = key.encode()
    except UnicodeEncodeError:
        return "its bytes are not UTF-8, and a signed request cannot name them"
    if not key.strip():
        return "it is empty or blank"
    if len(name) > _LONGEST:
        return f"it has {len(name)} bytes, {_LONGEST} are allowed"
    if any(len(segment.encode()) > _LONGEST_SEGMENT for segment in key.split("/")):
        return f"a segment of it has more than {_LONGEST_SEGMENT} bytes"
    return "" if stageable(key.removesuffix("/")) else "an empty, '.' or '..' path segment, or a NUL, cannot be a file"


def depth_of(metadata: object) -> int:
    """Return the depth from user metadata in HTTP headers or in an event; 0 if absent or not a number."""
    for name, value in metadata.items() if isinstance(metadata, Mapping) else ():
        if isinstance(name, str) and name.lower() == DEPTH_HEADER and isinstance(value, str):
            return int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0
    return 0
