# SPDX-License-Identifier: Apache-2.0
"""Alembic environment of the ledger; run by ``oscar_fedcloud.ledger.schema`` within a transaction that it holds."""
