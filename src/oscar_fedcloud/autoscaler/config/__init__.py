# SPDX-License-Identifier: Apache-2.0
"""``autoscaler.yml``: its settings, checked whole, and taken up while running."""
