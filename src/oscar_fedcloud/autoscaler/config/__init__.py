# SPDX-License-Identifier: Apache-2.0
"""``autoscaler.yml``: its settings and their validation."""
