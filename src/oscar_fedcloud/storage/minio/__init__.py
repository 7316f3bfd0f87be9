# SPDX-License-Identifier: Apache-2.0
"""MinIO: notification rules, and a key of its own for each service."""
