# SPDX-License-Identifier: Apache-2.0
"""Entry point of Alembic: the connection (and its open transaction) comes with the configuration."""

from __future__ import annotations

from alembic import context

from oscar_fedcloud.ledger.database.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
