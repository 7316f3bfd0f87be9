# SPDX-License-Identifier: Apache-2.0
"""The machines of the test site, as testinfra sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FRONT_END = "front"
WORKERS = ("worker1", "worker2")


def machine(name: str) -> Host:
    return testinfra.get_host(f"ssh://{name}", ssh_config=str(CACHE / "fedcloud-oscar/site/ssh/config"))


@pytest.fixture(scope="session")
def front() -> Host:
    return machine(FRONT_END)


@pytest.fixture(scope="session", params=WORKERS)
def worker(request: pytest.FixtureRequest) -> Host:
    return machine(request.param)


@pytest.fixture(scope="session", params=(FRONT_END, *WORKERS))
def node(request: pytest.FixtureRequest) -> Host:
    return machine(request.param)
