# SPDX-License-Identifier: Apache-2.0
"""Between rows of the tables and the types of ``oscar_fedcloud.model``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from oscar_fedcloud.jsontext import from_json
from oscar_fedcloud.ledger import bounds
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


def key_bytes(key: str) -> bytes:
    """A key as the bytes that the store knows."""
    return key.encode("utf-8", "surrogateescape")


def key_text(data: bytes) -> str:
    """Inverse of ``key_bytes``."""
    return bytes(data).decode("utf-8", "surrogateescape")


def row_id(event: StorageEvent) -> str:
    """The id of an event in the tables ``events`` and ``seen``: its ``event_id`` behind its place."""
    return place_id(event.bucket, event.key) + event_id(event)


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
        event.record,
        bounds.text(recording.detail),
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
        record=bytes(row.record),
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
        summary=row.summary,
        outputs_total=row.outputs_total,
    )
