# SPDX-License-Identifier: Apache-2.0
"""Outputs of attempts, requests by their Idempotency-Key, and the ledger's identity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_ID = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Forward only: a program refuses a schema that it does not know."""
    for leftover in ("outputs", "requests", "site"):  # of a newer ledger into which an older dump was loaded
        op.execute(f"DROP TABLE IF EXISTS {leftover}")
    op.add_column("attempts", sa.Column("summary", sa.Text, nullable=False, server_default=""))
    op.add_column("attempts", sa.Column("outputs_total", sa.BigInteger, nullable=False, server_default="0"))
    _outputs()
    _requests()
    op.create_table("site", sa.Column("id", sa.Text, primary_key=True), sa.Column("accepted", sa.Double))


def _outputs() -> None:
    op.create_table(
        "outputs",
        sa.Column("run_seq", _NUMBER, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("place", _ID, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("etag", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_seq", "number", "position"),
        sqlite_with_rowid=False,
    )
    op.create_index("outputs_place", "outputs", ["place", "run_seq"])


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )
