# SPDX-License-Identifier: Apache-2.0
"""The policy of each attempt: the retries and the callback of its service's revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Forward only: a program refuses a schema that it does not know."""
    op.add_column("attempts", sa.Column("policy", sa.Text, nullable=False, server_default=""))
