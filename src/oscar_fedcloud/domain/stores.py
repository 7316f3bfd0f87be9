# SPDX-License-Identifier: Apache-2.0
"""Data about a store that needs no access to it: a part of a bucket, and a key pair."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """A key pair of one service, for its inputs and outputs only. ``secret_key`` never reaches a log."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keys of a bucket that start with ``prefix``, as used by rules, listings and polls; empty means all keys."""

    bucket: str
    prefix: str = ""
