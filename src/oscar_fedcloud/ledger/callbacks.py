# SPDX-License-Identifier: Apache-2.0
"""The outbox of callbacks: written with the end of an attempt, removed when delivered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import Connection, delete, insert, or_, select, update

from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.ledger.database.tables import RUN_COLUMNS, callbacks, runs
from oscar_fedcloud.ledger.records import Callback
from oscar_fedcloud.ledger.values import bounds, cells
from oscar_fedcloud.ledger.values.rows import AnyRow, shown_run

_LONGEST_URL = 8192  # characters
_COLUMNS = [column.label(f"callback_{column.name}") for column in callbacks.c]


def add(connection: Connection, run: Run, url: str, now: float) -> None:
    """Add a message about the run in its present state to the outbox."""
    values = {
        "run_id": run.id,
        "url": bounds.text(url, _LONGEST_URL),
        "state": run.state.value,
        "reason": run.reason,
        "attempts": run.attempts,
        "finished": run.finished,
        "tries": 0,
        "not_before": now,
    }
    connection.execute(insert(callbacks).values(values))


def due(
    connection: Connection, now: float, limit: int, under_way: Collection[int] = (), busy: Collection[str] = ()
) -> list[Callback]:
    """Return messages to deliver now, the longest waiting first, except those in progress and those to busy URLs."""
    query = (
        select(*RUN_COLUMNS, *_COLUMNS)
        .join(callbacks, callbacks.c.run_id == runs.c.id)
        .where(or_(callbacks.c.not_before <= now, callbacks.c.not_before > now + bounds.MAX_WAIT))
        .where(callbacks.c.id.not_in(under_way), callbacks.c.url.not_in(busy))
        .order_by(callbacks.c.not_before, callbacks.c.id)
        .limit(limit)
    )
    return [_callback_of(connection, row) for row in connection.execute(query)]


def done(connection: Connection, callback_id: int) -> bool:
    """Remove a message; return False if it was already removed."""
    return connection.execute(delete(callbacks).where(callbacks.c.id == callback_id)).rowcount > 0


def retry(connection: Connection, callback_id: int, not_before: float) -> bool:
    """Count a failed delivery and wait until ``not_before`` (seconds since the epoch)."""
    change = update(callbacks).where(callbacks.c.id == callback_id)
    return connection.execute(change.values(tries=callbacks.c.tries + 1, not_before=not_before)).rowcount > 0


def _callback_of(connection: Connection, row: AnyRow) -> Callback:
    run = replace(
        shown_run(connection, row),
        state=cells.choice_or(row.callback_state, RunState, RunState.FAILED),
        reason=cells.text(row.callback_reason),
        attempts=cells.small(row.callback_attempts),
        finished=cells.moment_or_none(row.callback_finished),
    )
    return Callback(row.callback_id, cells.text(row.callback_url), run, cells.small(row.callback_tries))
