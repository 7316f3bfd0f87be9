# SPDX-License-Identifier: Apache-2.0
"""Values on their way into the tables and out of them, each bounded and read with distrust."""
