# SPDX-License-Identifier: Apache-2.0
"""One site for all tests of this folder. They run in the order in which they stand: each finds what others left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import Deployed, names_known
from parts.ansible_run import Ansible

# A site is made, used, looked at, hurt, saved, made again from its backup, upgraded, taken down, made role by role,
# its cluster is used by another site, and it is made without workers.
ORDER = (
    *("bad_inventories", "smoke", "walls", "jobs", "machines", "faults", "backup", "upgrade", "teardown"),
    *("roles_alone", "other_ways", "autoscaler"),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the parts in order. ``TIER=smoke`` leaves the tests out that are marked ``full``."""
    names = [f"test_{name}" for name in ORDER]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else -1)
    if os.environ.get("TIER") == "smoke":
        full = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if item not in full]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Three machines as ``make site-up`` starts them, fresh; the playbook ``site`` runs in the first test."""
    folder = Path(os.environ.get("OSCAR_SITE_LOGS") or tmp_path_factory.mktemp("site"))
    folder.mkdir(parents=True, exist_ok=True)
    with names_known():
        yield Deployed(Ansible("2.16", folder / "ansible"), folder)
