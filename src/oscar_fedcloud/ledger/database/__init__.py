# SPDX-License-Identifier: Apache-2.0
"""The databases under the ledger: engines, tables, and why they fail."""
