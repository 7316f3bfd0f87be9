# SPDX-License-Identifier: Apache-2.0
"""History: lists, counts, and the removal of old runs.

The identity of a removed run is kept in ``seen``, so that it never runs again while its object exists.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, literal, select, union_all

from oscar_fedcloud.domain.identity import place_id
from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.ledger.baselines import CHUNK, chunks, existing_values, insert_baseline
from oscar_fedcloud.ledger.database.dialects import rows_at
from oscar_fedcloud.ledger.database.tables import BEGUN, QUEUED, RUN_COLUMNS, attempts, callbacks, events, outputs, runs
from oscar_fedcloud.ledger.states import ENDED
from oscar_fedcloud.ledger.values.rows import PLACE, key_bytes, key_text, shown_run


def cursor_of(run: Run) -> str:
    """Return the cursor after which a list of runs continues."""
    return f"{run.created!r}~{run.id}"


def listed(
    service: str | None = None,
    states: Collection[RunState] | None = None,
    bucket: str | None = None,
    key: str | None = None,
    since: float | None = None,
    before: str | None = None,
) -> list[ColumnElement[bool]]:
    """Return the conditions of a list of runs. Raises ValueError if ``before`` is not a valid cursor."""
    conditions: list[ColumnElement[bool]] = []
    if service is not None:
        conditions.append(runs.c.service == service)
    if states is not None:
        conditions.append(_in_states(states))
    if bucket is not None:
        conditions.append(runs.c.bucket == bucket)
    if key is not None:
        conditions.append(runs.c.key == key_bytes(key))
    if bucket is not None and key is not None:
        conditions.append(at_place(runs, place_id(bucket, key)))
    if since is not None:
        conditions += [runs.c.created >= since, runs.c.seq > _last_before(since)]
    if before is not None:
        conditions.append(runs.c.seq < _seq_of(before))
    return conditions


def ended_before(moment: float) -> list[ColumnElement[bool]]:
    """Return the condition for runs that ended before that time (seconds since the epoch)."""
    return [runs.c.finished < moment]


def is_run(run_id: str) -> list[ColumnElement[bool]]:
    """Return the condition for one run."""
    return [runs.c.id == run_id]


def newest(connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int) -> list[Run]:
    """Return the runs that meet the conditions, newest first."""
    query = select(*RUN_COLUMNS).where(*conditions).order_by(runs.c.seq.desc()).limit(limit)
    return [shown_run(connection, row) for row in connection.execute(query)]


def counts(connection: Connection, service: str | None) -> dict[str, dict[str, int]]:
    """Return the number of runs of each service in each state."""
    one = [runs.c.service == service] if service is not None else []
    # In two parts, since each is answered from an index of its own.
    queued = select(runs.c.service, literal(RunState.QUEUED.value), func.count()).where(QUEUED, *one)
    begun = select(runs.c.service, runs.c.state, func.count()).where(BEGUN, *one)
    parts = queued.group_by(runs.c.service), begun.group_by(runs.c.service, runs.c.state)
    result: dict[str, dict[str, int]] = {}
    for name, state, count in connection.execute(union_all(*parts)):
        result.setdefault(name, {})[state] = count
    return result


def retire(connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int, now: float) -> int:
    """Remove at most ``limit`` ended runs that meet the conditions; their identities are kept in ``seen``."""
    columns = (runs.c.seq, runs.c.id, runs.c.event_id, runs.c.service, runs.c.provider, runs.c.bucket, runs.c.key)
    query = select(*columns).where(_in_states(ENDED), *conditions).limit(limit)
    # Locked, so that no other connection queues them again meanwhile.
    rows = connection.execute(query.with_for_update()).all()
    insert_baseline(connection, [_seen_values(row, now) for row in rows])
    ids = [row.id for row in rows]
    if ids:
        connection.execute(delete(outputs).where(outputs.c.run_seq.in_([row.seq for row in rows])))
        connection.execute(delete(attempts).where(attempts.c.run_id.in_(ids)))
        connection.execute(delete(callbacks).where(callbacks.c.run_id.in_(ids)))
        connection.execute(delete(runs).where(runs.c.id.in_(ids)))
    return len(ids)


def drop_events(connection: Connection, received_before: float, limit: int) -> int:
    """Remove at most ``limit`` old events without a run."""
    old = select(events.c.id).where(events.c.received < received_before).limit(limit)
    return connection.execute(delete(events).where(events.c.id.in_(old))).rowcount


def _in_states(states: Collection[RunState]) -> ColumnElement[bool]:
    condition = runs.c.state.in_([state.value for state in states])
    return condition if RunState.QUEUED in states else and_(condition, BEGUN)  # for the index


def at_place(table: Table, place: str) -> ColumnElement[bool]:
    """Return the condition for the rows of one key (and of few others)."""
    return and_(table.c.id > place, table.c.id < place + "~")


def _last_before(moment: float) -> ColumnElement[int]:
    """Return the number of the last run that arrived before that time, searching from the newest, as lists are read."""
    older = runs.alias()
    query = select(older.c.seq).where(older.c.created < moment).order_by(older.c.seq.desc()).limit(1)
    return func.coalesce(query.scalar_subquery(), 0)


def _seq_of(cursor: str) -> ColumnElement[int]:
    """Return the number of the cursor's run. If that run was removed, no run that arrived with it is skipped."""
    created, _, run_id = cursor.partition("~")
    there = runs.alias()
    exact = select(there.c.seq).where(there.c.id == run_id).scalar_subquery()
    return func.coalesce(exact, _last_before(math.nextafter(float(created), math.inf)) + 1)


def _seen_values(row: Any, now: float) -> dict[str, object]:
    values = {name: getattr(row, name) for name in ("service", "provider", "bucket", "key")}
    return values | {"id": row.id[:PLACE] + row.event_id, "noted": now}


def named_inputs(connection: Connection, provider: str, bucket: str, keys: Collection[str]) -> set[str]:
    """Return those of the keys that are the input of some run."""
    here = and_(runs.c.provider == provider, runs.c.bucket == bucket)
    found: set[str] = set()
    for places in chunks(sorted({place_id(bucket, key) for key in keys}), CHUNK):
        rows = connection.scalars(rows_at(connection.dialect, runs, places, ["key"], here))
        found.update(key_text(key) for key in rows)
    return found & set(keys)


def known_jobs(connection: Connection, jobs: Collection[str]) -> set[str]:
    """Return those of the Jobs that are attempts."""
    return existing_values(connection, attempts.c.job, jobs)
