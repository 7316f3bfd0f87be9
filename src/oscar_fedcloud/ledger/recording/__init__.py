# SPDX-License-Identifier: Apache-2.0
"""Records events: one thread commits them in batches."""
