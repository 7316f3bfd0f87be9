# SPDX-License-Identifier: Apache-2.0
"""A real MinIO with the real invoker behind its webhooks, and Ansible in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from parts.ansible_run import OLDEST, VERSIONS, Ansible
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


@pytest.fixture(params=VERSIONS)
def ansible(request: pytest.FixtureRequest, tmp_path: Path) -> Ansible:
    """Each version of Ansible in turn."""
    return Ansible(request.param, tmp_path / "ansible")


@pytest.fixture
def newest(tmp_path: Path) -> Ansible:
    """The newest Ansible, for what depends on no version."""
    return Ansible("newest", tmp_path / "ansible")


@pytest.fixture
def oldest(tmp_path: Path) -> Ansible:
    """The oldest Ansible that is supported, for what depends on no version."""
    return Ansible(OLDEST, tmp_path / "ansible")
