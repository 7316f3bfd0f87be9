# SPDX-License-Identifier: Apache-2.0
"""Values written to and read from the tables, bounded and validated."""
