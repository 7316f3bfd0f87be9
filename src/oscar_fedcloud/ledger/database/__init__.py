# SPDX-License-Identifier: Apache-2.0
"""The databases of the ledger: engines, tables and failures."""
