# SPDX-License-Identifier: Apache-2.0
"""Storage events: an object that appeared in a store, and the outcome of the event.

Object keys are ``str`` in which bytes that are not UTF-8 are represented as surrogates (``errors="surrogateescape"``),
so every key of a store round-trips. Times are integers in nanoseconds since the epoch where they order revisions, and
float seconds elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from oscar_fedcloud.domain.identity import digest


class Origin(StrEnum):
    """How an event arrived."""

    FAST = "fast"
    DURABLE = "durable"
    LISTING = "listing"
    POLL = "poll"
    HTTP = "http"
    REPLAY = "replay"


class EventOutcome(StrEnum):
    """The outcome of an event; answers "why did this file not run"."""

    MATCHED = "matched"
    NO_SERVICE = "no_service"
    FILTERED = "filtered"  # rejected by the suffix or filter of every candidate service
    TOO_DEEP = "too_deep"  # chain of outputs longer than allowed
    BAD_KEY = "bad_key"  # cannot be staged: empty, "." or ".." path segment


@dataclass(frozen=True, slots=True)
class StorageEvent:
    """One object that appeared in a store, from a notification, a listing row or an HTTP body.

    Attributes:
        provider: storage provider id as in the FDL, e.g. ``minio.default``.
        revision: the provider's name for this content of this key; the same however the event arrived.
        order: nanoseconds; a larger order is a newer revision of the same key.
        size: bytes, or None if unknown.
        etag: without quotes; empty if unknown.
        depth: the number of services between the first upload and this object.
        record: the event record that the script receives as ``EVENT`` (a JSON object in UTF-8).
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
    via: Origin = Origin.DURABLE
    record: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Recording:
    """One event and the runs that it requests, committed together."""

    event: StorageEvent
    services: tuple[str, ...]
    outcome: EventOutcome
    detail: str = ""  # e.g. which service filtered it


class BadEvent(Exception):
    """An event body that is not valid and becomes a dead letter. The message says what is wrong.

    Attributes:
        events: the events that could be read nevertheless.
    """

    def __init__(self, message: str, events: Sequence[StorageEvent] = ()) -> None:
        super().__init__(message)
        self.events = tuple(events)


class EventTooLarge(BadEvent):
    """An event larger than the ledger accepts; the message contains both sizes."""


def event_id(event: StorageEvent) -> str:
    """Return the identity of an event: one object revision, however often and in whatever way it is reported."""
    return digest(event.provider, event.bucket, event.key, event.revision)
