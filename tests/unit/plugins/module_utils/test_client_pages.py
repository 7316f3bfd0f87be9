# SPDX-License-Identifier: Apache-2.0
"""Modules that list things read all pages."""

from __future__ import annotations

from ansible_collections.fedcloud.oscar.plugins.module_utils._api.client import Client
from ansible_collections.fedcloud.oscar.plugins.module_utils._api.views import views
from parts.paged import paged_server


def test_services_are_read_to_the_last_page() -> None:
    services = [{"name": f"name-{number}", "document": {}} for number in range(7)]
    with paged_server({"/v2/services": ("services", services)}, 3) as (url, asked):
        assert list(views(Client(url)).values()) == services
        assert list(views(Client(url), ["name-1", "name-6"])) == ["name-1", "name-6"]
        assert len(asked) == 6
