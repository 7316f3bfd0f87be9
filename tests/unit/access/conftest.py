# SPDX-License-Identifier: Apache-2.0
"""Identities in front of the API. See ``parts.api_fixtures``."""

from parts.api_fixtures import admin, client, config, document, empty_ledger, invoker, limits  # noqa: F401
