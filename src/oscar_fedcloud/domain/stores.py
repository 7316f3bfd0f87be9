# SPDX-License-Identifier: Apache-2.0
"""What is said of a store without asking it: a part of a bucket, and a key pair."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credential:
    """A key pair of one service, for its inputs and outputs only. ``secret`` never reaches a log."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a rule, a listing or a poll is about: all keys of a bucket that start with ``prefix`` ("" = all)."""

    bucket: str
    prefix: str = ""
