# SPDX-License-Identifier: Apache-2.0
"""Identifiers derived from their content, so that the same thing always has the same identifier."""

from __future__ import annotations

import hashlib


def digest(*parts: str) -> str:
    """Return an identifier of 20 characters (80 bits, hexadecimal) for a tuple of strings. Parts are delimited."""
    whole = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.blake2b(whole.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()


def place_id(bucket: str, key: str) -> str:
    """Return the common prefix of the ids of all runs of a key. Few other keys share it."""
    return digest(bucket, key)[:6]
