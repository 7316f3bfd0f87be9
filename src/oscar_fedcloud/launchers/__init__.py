# SPDX-License-Identifier: Apache-2.0
"""Launchers run Jobs. ``port`` defines the interface; ``registry`` creates the configured launcher."""
