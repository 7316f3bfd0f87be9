# SPDX-License-Identifier: Apache-2.0
"""Errors of stores."""

from __future__ import annotations

from collections.abc import Mapping

from oscar_fedcloud.domain.services import Conflict, NotFound


class StoreError(Exception):
    """A request to a store failed; a retry may succeed. The message names provider and bucket."""


class WriteRefused(StoreError):
    """The store can never execute the request, for example because it does not allow a name. The message says why."""


class BadAnswer(StoreError):
    """A store's answer cannot be used. Other requests to it may succeed."""


class StoreFull(StoreError):
    """There is no space for the object. The message names the disk."""


class UnusableRows(BadAnswer, ValueError):
    """Some rows of a listing cannot be used. Raised after the last row, when all others have been returned.

    Attributes:
        reasons: key -> what is wrong with it, for some of these rows
    """

    def __init__(self, bucket: str, count: int, reasons: Mapping[str, str]) -> None:
        key, reason = next(iter(reasons.items()))
        super().__init__(f"{count} rows of the listing of bucket {bucket} cannot be used, such as {key!r}: {reason}")
        self.reasons = dict(reasons)


class BucketMissing(StoreError, NotFound):
    """The bucket does not exist."""


class BucketNotEmpty(StoreError, Conflict):
    """The bucket holds objects, and the request did not allow their deletion."""
