# SPDX-License-Identifier: Apache-2.0
"""Places in the store on a command line: ``BUCKET/KEY``, or ``s3://BUCKET/KEY``. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from oscar_fedcloud.cli.oscar.errors import CommandError, WrongUse

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, and a key or a key prefix in it; empty means all keys."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


def is_remote(text: str) -> bool:
    """Return whether a text is a place in the store rather than a local file."""
    return text.startswith(SCHEME)


def parse(text: str) -> Place:
    """Return the place for a text. Raises WrongUse."""
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise WrongUse(f"{text!r} names no bucket: give BUCKET/KEY")
    return Place(bucket, key)


def local_name(name: str) -> PurePosixPath:
    """Return an object's name as a relative path that cannot leave a folder. Raises CommandError.

    Names come from jobs and are not trusted.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise CommandError(f"the object {name!r} cannot be stored as a file: its name is no relative path")
    return PurePosixPath(*parts)
