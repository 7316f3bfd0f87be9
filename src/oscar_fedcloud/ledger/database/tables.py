# SPDX-License-Identifier: Apache-2.0
"""Tables of the ledger (SQLAlchemy Core). A change here needs a migration; a test compares the two.

An event and its run are one row of ``runs`` (an event for two services makes two), so that an event costs one row and
one random page, in the unique index on ``id`` that deduplicates events. The other indexes that a new run enters grow at
their ends. Ids begin with ``place_id``, so that all rows of one key are adjacent in that index.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    case,
    func,
    literal_column,
)
from sqlalchemy.dialects import postgresql

SCHEMA_VERSION = "0003"  # the newest migration

# Ids are compared as bytes, so that ids with a common prefix form a range.
Id = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
# SQLite assigns numbers automatically only for INTEGER, not BIGINT.
Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()


def _event_columns() -> list[Column[object]]:
    return [
        Column("provider", Text, nullable=False),
        Column("bucket", Text, nullable=False),
        Column("key", LargeBinary, nullable=False),  # UTF-8 with surrogateescape: any bytes
        Column("revision", Text, nullable=False),
        Column("event_order", BigInteger, nullable=False),  # nanoseconds
        Column("size", BigInteger),
        Column("etag", Text, nullable=False),
        Column("version_id", Text, nullable=False),
        Column("time", Text, nullable=False),
        Column("depth", Integer, nullable=False),
        Column("via", Text, nullable=False),
        Column("record", LargeBinary, nullable=False),  # JSON
        Column("detail", Text, nullable=False),
    ]


# Events without a run, and the reason.
events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),  # place_id + event_id
    *_event_columns(),
    Column("outcome", Text, nullable=False),
    Column("received", Double, nullable=False),
    Index("events_received", "received"),
)

runs = Table(
    "runs",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True),  # the order of arrival
    Column("id", Id, nullable=False),  # model.run_id
    Column("event_id", Text, nullable=False),
    Column("service", Text, nullable=False),
    *_event_columns(),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked", Text, nullable=False),  # "retry" or "replay" if a user requested another run, else empty
    Column("attempts", Integer, nullable=False),
    Column("script_failures", Integer, nullable=False),
    Column("infra_failures", Integer, nullable=False),
    Column("not_before", Double, nullable=False),  # 0 until a failure
    Column("created", Double, nullable=False),
    Column("finished", Double),
    Index("runs_id", "id", unique=True),
    Index("runs_service", "service", "seq"),
)

# All columns but the record, which may be large and is needed only by a Job; and all with small records, as nearly all
# are: reading each separately costs a query for each Job.
RUN_COLUMNS: list[ColumnElement[Any]] = [column for column in runs.c if column.name != "record"]


def small_record(table: Table) -> ColumnElement[Any]:
    """Return the record of a row if it is small, else NULL."""
    return case((func.length(table.c.record) <= literal_column("4096"), table.c.record)).label("record")


WITH_RECORD = [*RUN_COLUMNS, small_record(runs)]

# Literals: SQLite uses a partial index only if its condition is part of the statement.
QUEUED = runs.c.state == literal_column("'queued'")
BEGUN = runs.c.state != literal_column("'queued'")
RUNNING = runs.c.state == literal_column("'running'")
LATER = and_(QUEUED, runs.c.not_before > literal_column("0"))
FINISHED = runs.c.finished.is_not(None)

# ``state`` is in the first two although it is constant there: otherwise SQLite reads it from the table.
for _name, _condition, *_columns in (
    ("runs_queue", QUEUED, "service", "event_order", "seq", "not_before", "state"),
    ("runs_later", LATER, "service", "not_before", "state"),
    ("runs_begun", BEGUN, "service", "state", "seq"),
    ("runs_running", RUNNING, "id"),
    ("runs_finished", FINISHED, "finished"),
):
    Index(_name, *(runs.c[_column] for _column in _columns), sqlite_where=_condition, postgresql_where=_condition)

attempts = Table(
    "attempts",
    metadata,
    Column("run_id", Id, nullable=False),
    Column("number", Integer, nullable=False),
    Column("job", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("exit_code", Integer),
    Column("reason", Text, nullable=False),
    Column("started", Double, nullable=False),
    Column("finished", Double),
    Column("limits", LargeBinary, nullable=False),  # JSON
    Column("summary", Text, nullable=False, server_default=""),
    Column("outputs_total", BigInteger, nullable=False, server_default="0"),
    Column("policy", Text, nullable=False, server_default=""),  # JSON; empty if not recorded
    PrimaryKeyConstraint("run_id", "number"),
    Index("attempts_job", "job", unique=True),
)

# The outputs of attempts. Keyed by the number of the run rather than its id, so that new rows are appended.
outputs = Table(
    "outputs",
    metadata,
    Column("run_seq", Number, nullable=False),  # runs.seq
    Column("number", Integer, nullable=False),  # of the attempt
    Column("position", Integer, nullable=False),  # from 1, in the order in which the objects were written
    Column("place", Id, nullable=False),  # model.place_id
    Column("provider", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("size", BigInteger),
    Column("etag", Text, nullable=False),
    PrimaryKeyConstraint("run_seq", "number", "position"),
    Index("outputs_place", "place", "run_seq"),
    sqlite_with_rowid=False,
)

# Requests by their Idempotency-Key.
requests = Table(
    "requests",
    metadata,
    Column("id", Id, primary_key=True),  # digest of the key
    Column("digest", Text, nullable=False),  # of identity, route and body
    Column("created", Double, nullable=False),
    sqlite_with_rowid=False,
)

# One row: the ledger's identity, and since when it is the ledger of its site.
site = Table("site", metadata, Column("id", Text, primary_key=True), Column("accepted", Double))

# Revisions that must never (again) create a run of the service.
seen = Table(
    "seen",
    metadata,
    Column("id", Id, nullable=False),  # place_id + event_id
    Column("service", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("noted", Double, nullable=False),
    PrimaryKeyConstraint("id", "service"),
    Index("seen_service", "service", "provider", "bucket", "id"),
    sqlite_with_rowid=False,
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("received", Double, nullable=False),
    sqlite_autoincrement=True,
)

# Messages to deliver, with the state of the run when each was written.
callbacks = Table(
    "callbacks",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("run_id", Id, nullable=False),
    Column("url", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("finished", Double),
    Column("tries", Integer, nullable=False),
    Column("not_before", Double, nullable=False),
    Index("callbacks_due", "not_before", "id"),
    Index("callbacks_run", "run_id"),
    sqlite_autoincrement=True,
)
