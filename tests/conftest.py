# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every tier shares. ``parts`` holds the real servers that tests start."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# The servers written in Go that tests start: memory is there, processor time is not.
os.environ.setdefault("GOGC", "400")
