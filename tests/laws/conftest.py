# SPDX-License-Identifier: Apache-2.0
"""One site for all laws; every test uses a service of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from parts.site import Site, running_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site that checks its rules every second."""
    with running_site(tmp_path_factory.mktemp("laws"), reconcile_interval=1.0) as running:
        yield running
