# SPDX-License-Identifier: Apache-2.0
"""Events, runs, attempts, seen revisions, dead letters and callbacks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Forward only: a program refuses a schema that it does not know."""
    _events()
    _runs()
    _attempts()
    _seen()
    _dead_letters()
    _callbacks()


def _event_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("event_order", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("version_id", sa.Text, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    ]


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", _ID, primary_key=True),
        *_event_columns(),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("received", sa.Double, nullable=False),
    )
    op.create_index("events_received", "events", ["received"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", _ID, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        *_event_columns(),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("script_failures", sa.Integer, nullable=False),
        sa.Column("infra_failures", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
    )
    op.create_index("runs_id", "runs", ["id"], unique=True)
    op.create_index("runs_service", "runs", ["service", "seq"])
    _partial_index("runs_queue", ["service", "event_order", "seq", "not_before", "state"], "state = 'queued'")
    _partial_index("runs_later", ["service", "not_before", "state"], "state = 'queued' AND not_before > 0")
    _partial_index("runs_begun", ["service", "state", "seq"], "state != 'queued'")
    _partial_index("runs_running", ["id"], "state = 'running'")
    _partial_index("runs_finished", ["finished"], "finished IS NOT NULL")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "runs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("run_id", _ID, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
        sa.Column("limits", sa.LargeBinary, nullable=False),
    )
    op.create_index("attempts_job", "attempts", ["job"], unique=True)


def _seen() -> None:
    op.create_table(
        "seen",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("noted", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("seen_service", "seen", ["service", "provider", "bucket", "id"])


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("received", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )


def _callbacks() -> None:
    op.create_table(
        "callbacks",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("finished", sa.Double),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("callbacks_due", "callbacks", ["not_before", "id"])
    op.create_index("callbacks_run", "callbacks", ["run_id"])
