# SPDX-License-Identifier: Apache-2.0
"""MinIO: notification rules, and a separate key for each service."""
