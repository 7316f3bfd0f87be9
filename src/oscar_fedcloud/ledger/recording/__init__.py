# SPDX-License-Identifier: Apache-2.0
"""How events get into the ledger: one thread commits them in batches."""
