# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a store."""

from __future__ import annotations

from collections.abc import Mapping

from oscar_fedcloud.domain.services import Conflict, NotFound


class StoreError(Exception):
    """A store did not do what was asked of it; the message names provider and bucket. Trying again may help."""


class WriteRefused(StoreError):
    """The store can never take what was asked of it, such as a name that it does not allow; the message says why."""


class BadAnswer(StoreError):
    """A store answered, but what it said cannot be used. Other questions to it may well be answered."""


class StoreFull(StoreError):
    """There is no room for what was to be stored; the message names the disk."""


class UnusableRows(BadAnswer, ValueError):
    """Some rows of a listing cannot be used; raised behind the last row, so that all others were handed on.

    reasons: key -> what is wrong with it, of some of these rows.
    """

    def __init__(self, bucket: str, count: int, reasons: Mapping[str, str]) -> None:
        key, reason = next(iter(reasons.items()))
        super().__init__(f"{count} rows of the listing of bucket {bucket} cannot be used, such as {key!r}: {reason}")
        self.reasons = dict(reasons)


class BucketMissing(StoreError, NotFound):
    """There is no such bucket."""


class BucketNotEmpty(StoreError, Conflict):
    """The bucket holds objects, and the request did not say that they shall go with it."""
