# SPDX-License-Identifier: Apache-2.0
"""A real MinIO with the real invoker behind its webhooks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from parts.daemon import Daemon
from parts.site import Site, running_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site for the tests of one file."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(site: Site) -> Daemon:
    """The invoker of the site."""
    return site.daemon
