# SPDX-License-Identifier: Apache-2.0
"""The queues: which services have work, and which of their runs are due."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal_column, or_, select

from oscar_fedcloud.ledger.records import Candidate
from oscar_fedcloud.ledger.rows import PLACE, run_of
from oscar_fedcloud.ledger.tables import LATER, QUEUED, runs
from oscar_fedcloud.model import RunState

_other = runs.alias("other")
_place = func.substr(runs.c.id, 1, PLACE)
# The range of ids comes from the index; few rows are in it, and the other columns tell which are of the same object.
# (The empty string keeps SQLite from reading all runs of the service instead.)
_SAME_OBJECT = and_(
    _other.c.id > _place,
    _other.c.id < _place + "~",
    _other.c.service.concat("") == runs.c.service,
    *(_other.c[name] == runs.c[name] for name in ("provider", "bucket", "key")),
)
_SAME_ORDER = _other.c.event_order == runs.c.event_order
_IS_NEWER = or_(_other.c.event_order > runs.c.event_order, and_(_SAME_ORDER, _other.c.id > runs.c.id))
_IS_OLDER = or_(_other.c.event_order < runs.c.event_order, and_(_SAME_ORDER, _other.c.id < runs.c.id))
_GAVE_WAY = [RunState.CANCELLED.value, RunState.SUPERSEDED.value]


def services_waiting(connection: Connection) -> dict[str, float]:
    """Services with queued runs, and when the first of these may start (seconds since the epoch)."""
    query = select(runs.c.service, func.min(runs.c.not_before)).where(QUEUED).group_by(runs.c.service)
    return {row[0]: row[1] for row in connection.execute(query)}


def next_due(connection: Connection, service: str, now: float) -> float | None:
    """When the first of the service's runs that wait for a later time may start; None if none does."""
    query = select(func.min(runs.c.not_before)).where(runs.c.service == service, LATER, runs.c.not_before > now)
    moment: float | None = connection.scalar(query)
    return moment


def due(connection: Connection, service: str, now: float, limit: int) -> list[Candidate]:
    """Queued runs of a service that may start now or are superseded, oldest revision first.

    Runs that only wait for another run of their object are left out, so that they do not use up ``limit``.
    """
    newer, busy = _newer(), _busy(now)
    query = (
        select(runs, newer.label("newer"), busy.label("busy"))
        .where(runs.c.service == service, QUEUED, runs.c.not_before <= now, or_(newer, ~busy))
        .order_by(runs.c.event_order, runs.c.id)
        .limit(limit)
    )
    return [Candidate(run_of(row), bool(row.newer), bool(row.busy)) for row in connection.execute(query)]


def _newer() -> ColumnElement[bool]:
    """A newer revision is there, and nobody asked for this one."""
    return and_(runs.c.asked == "", exists().where(_SAME_OBJECT, _IS_NEWER, _other.c.state.not_in(_GAVE_WAY)))


def _busy(now: float) -> ColumnElement[bool]:
    """Another run of the object is running, or an older one that was asked for shall start first."""
    active = _other.c.state == literal_column("'running'")
    first = and_(
        _other.c.state == literal_column("'queued'"), _other.c.asked != "", _other.c.not_before <= now, _IS_OLDER
    )
    return exists().where(_SAME_OBJECT, or_(active, first))
