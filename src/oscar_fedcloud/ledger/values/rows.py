# SPDX-License-Identifier: Apache-2.0
"""Conversion between rows of the tables and the types of ``oscar_fedcloud.domain``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row

from oscar_fedcloud.domain.events import Origin, Recording, StorageEvent, event_id
from oscar_fedcloud.domain.identity import place_id
from oscar_fedcloud.domain.runs import Attempt, AttemptState, Run, RunState
from oscar_fedcloud.ledger.values import bounds, cells
from oscar_fedcloud.ledger.values.cells import BadRow
from oscar_fedcloud.ledger.values.damage import note

AnyRow = Row[Any]
PLACE = 6  # characters of ``place_id`` at the start of ids


def key_bytes(key: str) -> bytes:
    """Return a key as the bytes used by the store."""
    return key.encode("utf-8", "surrogateescape")


def key_text(data: object) -> str:
    """Return the key for bytes; the inverse of ``key_bytes``."""
    return cells.data(data).decode("utf-8", "surrogateescape")


def row_id(event: StorageEvent) -> str:
    """Return the id of an event in the tables ``events`` and ``seen``: its place followed by its ``event_id``."""
    return place_id(event.bucket, event.key) + event_id(event)


def event_row(row: str, recording: Recording, now: float) -> tuple[Any, ...]:
    """Return a row of ``events``, in the order of its columns."""
    return (row, *_event_values(recording), recording.outcome.value, now)


def run_row(run: str, event: str, service: str, recording: Recording, now: float) -> tuple[Any, ...]:
    """Return a row of ``runs`` for a new run, in the order of its columns after ``seq``."""
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
    """Return the event in a row of ``events`` or ``runs``, with its record if that was read. Raises BadRow."""
    return StorageEvent(
        provider=cells.name("provider", row.provider),
        bucket=cells.name("bucket", row.bucket),
        key=cells.key(row.key),
        revision=cells.text(row.revision),
        order=cells.whole("event_order", row.event_order, -bounds.MAX_NUMBER - 1, bounds.MAX_NUMBER),
        size=bounds.number(row.size, 0, bounds.MAX_NUMBER),
        etag=cells.text(row.etag),
        version_id=cells.text(row.version_id),
        time=cells.text(row.time),
        depth=cells.small(row.depth),
        via=cells.choice_or(row.via, Origin, Origin.DURABLE),
        record=cells.data(getattr(row, "record", b"")),
    )


def run_of(row: AnyRow) -> Run:
    """Return the run in a row of ``runs``. A replayed run has its event's ``via`` changed. Raises BadRow."""
    event = event_of(row)
    return Run(
        id=cells.name("id", row.id),
        service=cells.name("service", row.service),
        event=replace(event, via=Origin.REPLAY) if row.asked == "replay" else event,
        state=cells.choice("state", row.state, RunState),
        reason=cells.text(row.reason),
        attempts=cells.whole("attempts", row.attempts, 0, bounds.MAX_SMALL - 1),
        script_failures=cells.small(row.script_failures),
        infra_failures=cells.small(row.infra_failures),
        not_before=cells.moment(row.not_before),
        created=cells.moment(row.created),
        finished=cells.moment_or_none(row.finished),
    )


def shown_run(connection: Connection, row: AnyRow) -> Run:
    """Return the run in a row of ``runs``; a damaged one as failed, with the reason."""
    try:
        return run_of(row)
    except BadRow as error:
        note(connection, f"run {cells.text(row.id)}", str(error))
        return _damaged(row, str(error))


def shown_event(row: AnyRow) -> tuple[StorageEvent, str]:
    """Return the event in a row of ``events`` or ``runs`` and a remark; of a damaged one as much as can be read."""
    try:
        return event_of(row), cells.text(row.detail)
    except BadRow as error:
        return _damaged_event(row), str(error)


def order_of(row: AnyRow) -> int:
    """Return the order of the revision in a row, 0 if it is damaged."""
    return bounds.number(row.event_order, 0, bounds.MAX_NUMBER) or 0


def _damaged_event(row: AnyRow) -> StorageEvent:
    provider, bucket, revision = (cells.text(value) for value in (row.provider, row.bucket, row.revision))
    return StorageEvent(provider, bucket, key_text(row.key), revision, order_of(row), record=b"")


def _damaged(row: AnyRow, reason: str) -> Run:
    event = _damaged_event(row)
    attempts, created = cells.small(row.attempts), cells.moment(row.created)
    finished = cells.moment_or_none(row.finished) or created
    run_id, service = cells.text(row.id), cells.text(row.service)
    return Run(run_id, service, event, RunState.FAILED, reason, attempts, 0, 0, 0.0, created, finished)


def attempt_of(row: AnyRow) -> Attempt:
    """Return the attempt in a row of ``attempts``; one in an unknown state as failed, with the reason."""
    reason = cells.text(row.reason)
    try:
        state = cells.choice("state", row.state, AttemptState)
    except BadRow as error:
        state, reason = AttemptState.FAILED, str(error)
    return Attempt(
        run_id=cells.text(row.run_id),
        number=cells.small(row.number),
        job=cells.text(row.job),
        state=state,
        exit_code=bounds.exit_code(row.exit_code),
        reason=reason,
        started=cells.moment(row.started),
        finished=cells.moment_or_none(row.finished),
        limits=cells.texts(row.limits),
        summary=bounds.text(cells.text(row.summary), bounds.MAX_SUMMARY),
        outputs_total=bounds.count(row.outputs_total),
        policy=cells.text(row.policy),
    )
