# SPDX-License-Identifier: Apache-2.0
"""The Alembic environment. ``oscar_fedcloud.ledger.database.schema`` runs it within a transaction of its own."""
