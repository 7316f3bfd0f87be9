# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run the autoscaler's daemon; a test file names them in ``pytest_plugins``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts.autoscaler import Autoscaler, Cluster, prepare
from parts.clouds import CommandPlace
from parts.kube import KubeServer


@pytest.fixture(scope="module")
def kube() -> Iterator[KubeServer]:
    with KubeServer(scheduler=True) as server:
        yield server


@pytest.fixture(scope="module")
def kubeconfig(kube: KubeServer) -> Path:
    return prepare(kube)


@pytest.fixture
def cluster(kube: KubeServer, kubeconfig: Path) -> Iterator[Cluster]:
    found = Cluster(kube)
    yield found
    found.clear()
    found.http.close()


@pytest.fixture
def place() -> Iterator[CommandPlace]:
    found = CommandPlace()
    yield found
    found.close()


@pytest.fixture
def autoscaler(tmp_path: Path, kubeconfig: Path, cluster: Cluster, place: CommandPlace) -> Iterator[Autoscaler]:
    found = Autoscaler(tmp_path, kubeconfig, place)
    yield found
    found.end(signal.SIGKILL)
