# SPDX-License-Identifier: Apache-2.0
"""One object that appeared in a store, and what became of it.

Object keys are ``str`` in which bytes that are not UTF-8 stand as surrogates (``errors="surrogateescape"``), so every
key of a store round-trips. Times are integers in nanoseconds since the epoch when they order revisions, and float
seconds everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from oscar_fedcloud.domain.identity import digest


class Via(StrEnum):
    """How an event reached us."""

    FAST = "fast"
    DURABLE = "durable"
    LISTING = "listing"
    POLL = "poll"
    HTTP = "http"
    REPLAY = "replay"


class EventOutcome(StrEnum):
    """What became of an event; the answer to "why did this file not run"."""

    MATCHED = "matched"
    NO_SERVICE = "no_service"
    FILTERED = "filtered"  # suffix or filter of every candidate service said no
    TOO_DEEP = "too_deep"  # chain of outputs longer than allowed
    BAD_KEY = "bad_key"  # cannot be staged: empty, "." or ".." path segment


@dataclass(frozen=True, slots=True)
class StorageEvent:
    """One object that appeared in a store, from a notification, a listing row or an HTTP body.

    provider: storage provider id as in FDL, e.g. ``minio.default``.
    revision: the provider's name for this content of this key; equal however the event reached us.
    order: nanoseconds; a larger order is a newer revision of the same key.
    size: bytes, or None when the event does not say. etag: without quotes, "" when unknown.
    depth: how many services stand between the first upload and this object.
    record: the one event record handed to the script as ``EVENT`` (a JSON object, as text in UTF-8).
    """

    provider: str
    bucket: str
    key: str
    revision: str
    order: int
    size: int | None = None
    etag: str = ""
    version_id: str = ""
    time: str = ""
    depth: int = 0
    via: Via = Via.DURABLE
    record: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Recording:
    """One event and the runs that it asks for, committed together."""

    event: StorageEvent
    services: tuple[str, ...]
    outcome: EventOutcome
    detail: str = ""  # e.g. which service filtered it


class BadEvent(Exception):
    """An event body that cannot be understood; it becomes a dead letter. The message says what is wrong.

    events: what could be understood of the body nevertheless.
    """

    def __init__(self, message: str, events: Sequence[StorageEvent] = ()) -> None:
        super().__init__(message)
        self.events = tuple(events)


class EventTooLarge(BadEvent):
    """An event has more bytes than the ledger holds for one; the message has both numbers."""


def event_id(event: StorageEvent) -> str:
    """The identity of an event: one object revision, however often and by whatever way it is reported."""
    return digest(event.provider, event.bucket, event.key, event.revision)
