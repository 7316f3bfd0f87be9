# SPDX-License-Identifier: Apache-2.0
"""Between rows of the tables and the types of ``oscar_fedcloud.model``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Row

from oscar_fedcloud.model import (
    Attempt,
    AttemptState,
    Recording,
    Run,
    RunState,
    StorageEvent,
    Via,
    event_id,
    place_id,
)

AnyRow = Row[Any]
PLACE = 6  # characters of ``place_id`` at the beginning of ids

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


def key_bytes(key: str) -> bytes:
    """A key as the bytes that the store knows."""
    return key.encode("utf-8", "surrogateescape")


def key_text(data: bytes) -> str:
    """Inverse of ``key_bytes``."""
    return bytes(data).decode("utf-8", "surrogateescape")


def row_id(event: StorageEvent) -> str:
    """The id of an event in the tables ``events`` and ``seen``: its ``event_id`` behind its place."""
    return place_id(event.bucket, event.key) + event_id(event)


def plain(text: str) -> str:
    """Text that every database takes: lone surrogates and NUL are shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def to_json(value: Mapping[str, Any]) -> bytes:
    """JSON of plain data. Lone surrogates (keys that are not UTF-8) become escapes, as only the slow encoder does."""
    try:
        return _encode_json(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def from_json(data: bytes) -> Any:
    """Inverse of ``to_json``."""
    try:
        return _decode_json(data)
    except msgspec.DecodeError:
        return json.loads(data)


def event_row(row: str, recording: Recording, now: float) -> tuple[Any, ...]:
    """A row of ``events``, in the order of its columns."""
    return (row, *_event_values(recording), recording.outcome.value, now)


def run_row(run: str, event: str, service: str, recording: Recording, now: float) -> tuple[Any, ...]:
    """A row of ``runs`` for a new run, in the order of its columns behind ``seq``."""
    values = _event_values(recording)
    return (run, event, service, *values, RunState.QUEUED.value, "", "", 0, 0, 0, 0.0, now, None)


def _event_values(recording: Recording) -> tuple[Any, ...]:
    event = recording.event
    return (
        event.provider,
        event.bucket,
        key_bytes(event.key),
        event.revision,
        event.order,
        event.size,
        event.etag,
        event.version_id,
        event.time,
        event.depth,
        event.via.value,
        to_json(event.record),
        plain(recording.detail),
    )


def event_of(row: AnyRow) -> StorageEvent:
    """The event in a row of ``events`` or ``runs``."""
    return StorageEvent(
        provider=row.provider,
        bucket=row.bucket,
        key=key_text(row.key),
        revision=row.revision,
        order=row.event_order,
        size=row.size,
        etag=row.etag,
        version_id=row.version_id,
        time=row.time,
        depth=row.depth,
        via=Via(row.via),
        record=from_json(row.record),
    )


def run_of(row: AnyRow) -> Run:
    """The run in a row of ``runs``. A replayed run says so in its event's ``via``."""
    event = event_of(row)
    return Run(
        id=row.id,
        service=row.service,
        event=replace(event, via=Via.REPLAY) if row.asked == "replay" else event,
        state=RunState(row.state),
        reason=row.reason,
        attempts=row.attempts,
        script_failures=row.script_failures,
        infra_failures=row.infra_failures,
        not_before=row.not_before,
        created=row.created,
        finished=row.finished,
    )


def attempt_of(row: AnyRow) -> Attempt:
    """The attempt in a row of ``attempts``."""
    return Attempt(
        run_id=row.run_id,
        number=row.number,
        job=row.job,
        state=AttemptState(row.state),
        exit_code=row.exit_code,
        reason=row.reason,
        started=row.started,
        finished=row.finished,
        limits=from_json(row.limits),
    )
