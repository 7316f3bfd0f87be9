# SPDX-License-Identifier: Apache-2.0
"""Names that are derived from what they name, so that the same thing always has the same name."""

from __future__ import annotations

import hashlib


def digest(*parts: str) -> str:
    """A name of 20 characters (80 bits, hexadecimal) for a tuple of strings; the parts cannot run together."""
    whole = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.blake2b(whole.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()


def place_id(bucket: str, key: str) -> str:
    """What the ids of all runs of a key begin with; few other keys share it."""
    return digest(bucket, key)[:6]
