# SPDX-License-Identifier: Apache-2.0
"""Stores a batch of events with their runs, and dead letters, in one transaction: the hot path."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPICursor

from oscar_fedcloud.domain.events import Recording, event_id
from oscar_fedcloud.domain.runs import run_id
from oscar_fedcloud.ledger.database.dialects import as_list, find_sql, insert_sql
from oscar_fedcloud.ledger.database.tables import dead_letters, events, runs, seen
from oscar_fedcloud.ledger.errors import is_row_error
from oscar_fedcloud.ledger.values.bounds import MAX_RECORD, text
from oscar_fedcloud.ledger.values.rows import PLACE, event_row, row_id, run_row


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A dead letter to store."""

    source: str
    body: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class IdentifiedRecording:
    """A recording with the identity of its event."""

    identity: str
    recording: Recording


Item = IdentifiedRecording | DeadLetterRow


def named(recording: Recording) -> Item:
    """Return the recording with its event's identity, or a dead letter if its text or size cannot be stored."""
    if len(recording.event.record) > MAX_RECORD:
        return letter_of(recording, ValueError(f"its record is larger than {MAX_RECORD} bytes"))
    try:
        return IdentifiedRecording(event_id(recording.event), recording)
    except UnicodeError as error:
        return letter_of(recording, error)


def letter_of(recording: Recording, error: Exception) -> DeadLetterRow:
    """Return a dead letter for an event that cannot be stored."""
    body = json.dumps(asdict(recording), default=_text, skipkeys=True).encode()
    return DeadLetterRow(recording.event.provider, body, f"the event cannot be stored: {error}")


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Recorder:
    """Stores recordings with the statements of one kind of database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._insert_runs = insert_sql(dialect, runs)
        self._insert_events = insert_sql(dialect, events)
        self._insert_letters = insert_sql(dialect, dead_letters)
        self._find_runs = find_sql(dialect, runs, "id")
        self._find_events = find_sql(dialect, events, "id")
        self._find_seen = find_sql(dialect, seen, "id", "service")

    def store(self, connection: Connection, items: Sequence[Item]) -> list[bool]:
        """Store the new items; return for each whether it was new."""
        wanted = [_row_ids(item) for item in items]
        rows = _Rows(time.time())
        # The driver's own cursor: SQLAlchemy's is more expensive than a small batch.
        with closing(connection.connection.cursor()) as cursor:
            known = self._known(cursor, items, wanted)
            results = [rows.add(item, ids, known) for item, ids in zip(items, wanted, strict=True)]
            for statement, values in (
                (self._insert_runs, rows.runs),
                (self._insert_events, rows.events),
                (self._insert_letters, rows.letters),
            ):
                if values:  # sorted, so that replicas with the same events do not deadlock
                    cursor.executemany(statement, sorted(values))
        return results

    def store_singly(self, connection: Connection, items: Sequence[Item]) -> list[bool]:
        """Store each item separately after ``store`` failed; those that the database rejects become dead letters."""
        results = []
        for item in items:
            try:
                with connection.begin_nested():
                    results += self.store(connection, [item])
            except Exception as error:
                if isinstance(item, DeadLetterRow) or not is_row_error(error):
                    raise
                results += self.store(connection, [letter_of(item.recording, error)])
        return results

    def _known(self, cursor: DBAPICursor, items: Iterable[Item], wanted: Iterable[Sequence[str]]) -> _Known:
        """Return which wanted rows exist. ``seen`` is read last, since history moves from ``runs`` to there."""
        run_ids: list[str] = []
        event_ids: list[str] = []
        seen_ids: list[str] = []
        for item, ids in zip(items, wanted, strict=True):
            if isinstance(item, IdentifiedRecording) and item.recording.services:
                run_ids += ids
                seen_ids.append(ids[0][:PLACE] + item.identity)
            else:
                event_ids += ids
        rows = self._find(cursor, self._find_runs, run_ids) | self._find(cursor, self._find_events, event_ids)
        return _Known(rows, self._find(cursor, self._find_seen, seen_ids))

    def _find(self, cursor: DBAPICursor, statement: str, ids: Sequence[str]) -> set[tuple[str, ...]]:
        if not ids:
            return set()
        cursor.execute(statement, (as_list(self._dialect, ids),))
        return set(cursor.fetchall())


@dataclass(frozen=True, slots=True)
class _Known:
    rows: set[tuple[str, ...]]  # (id) of existing runs and events
    barred: set[tuple[str, ...]]  # (row_id of the event, service) that must create no run


@dataclass(slots=True)
class _Rows:
    """The rows to insert for a batch."""

    now: float
    runs: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    letters: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, item: Item, ids: Sequence[str], known: _Known) -> bool:
        """Add the new rows of an item, and record them as known; return False if there are none."""
        if isinstance(item, DeadLetterRow):
            self.letters.append((text(item.source), item.body, text(item.reason), self.now))
            return True
        fresh = [name for name in ids if (name,) not in known.rows]
        known.rows.update((name,) for name in fresh)
        if not item.recording.services:
            self.events += [event_row(name, item.recording, self.now) for name in fresh]
            return bool(fresh)
        before = len(self.runs)
        for name, service in zip(ids, item.recording.services, strict=True):
            if name in fresh and (name[:PLACE] + item.identity, service) not in known.barred:
                self.runs.append(run_row(name, item.identity, service, item.recording, self.now))
        return len(self.runs) > before


def _row_ids(item: Item) -> list[str]:
    """Return the row ids of an item: of its runs, or of the event itself if it has none."""
    if isinstance(item, DeadLetterRow):
        return []
    services, event = item.recording.services, item.recording.event
    return [run_id(service, event) for service in services] or [row_id(event)]
