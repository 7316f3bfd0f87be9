# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: routes by resource, and what all of them share. ``table`` lists them, ``app`` serves them."""
