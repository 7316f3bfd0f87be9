# SPDX-License-Identifier: Apache-2.0
"""Metrics, history and the report."""
