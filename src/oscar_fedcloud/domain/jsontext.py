# SPDX-License-Identifier: Apache-2.0
"""JSON as bytes, the form in which event records are passed on and stored. Decoded only where fields are needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def to_json(value: Mapping[str, Any]) -> bytes:
    """Encode plain data as JSON.

    Lone surrogates (keys that are not UTF-8) are escaped, which needs the slow encoder.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def from_json(data: bytes) -> Any:
    """Decode JSON; the inverse of ``to_json``. Raises ValueError for invalid JSON."""
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return json.loads(data)
