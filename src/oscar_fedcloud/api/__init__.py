# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: routes by resource, and what they share. ``routes`` lists them, ``app`` serves them."""
