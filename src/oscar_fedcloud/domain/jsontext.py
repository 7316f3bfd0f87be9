# SPDX-License-Identifier: Apache-2.0
"""JSON as bytes, the form in which event records travel and are stored: decoded only where somebody looks inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def to_json(value: Mapping[str, Any]) -> bytes:
    """JSON of plain data. Lone surrogates (keys that are not UTF-8) become escapes, as only the slow encoder does."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def from_json(data: bytes) -> Any:
    """Inverse of ``to_json``. Raises ValueError for what is no JSON."""
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return json.loads(data)
