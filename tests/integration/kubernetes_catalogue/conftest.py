# SPDX-License-Identifier: Apache-2.0
"""A control plane, and an invoker with MinIO that keeps its services there, for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from parts.catalogued import LONG, Kubectl
from parts.daemon import Daemon
from parts.kube import KubeServer
from parts.site import Site, make_site

CRD = Path(__file__).parents[3] / "roles" / "invoker" / "files" / "kubernetes" / "crd.yaml"


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with KubeServer(tmp_path_factory.mktemp("kube")) as server:
        server.apply(CRD)
        yield server


@pytest.fixture(scope="module")
def site(kube: KubeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    catalogue = {"type": "kubernetes", "kubeconfig": str(kube.invoker_kubeconfig()), "revisions": 3}
    site = make_site(tmp_path_factory.mktemp("site"), catalogue=catalogue)
    with site.minio:
        site.daemon.start(LONG)
        try:
            yield site
        finally:
            site.daemon.stop()


@pytest.fixture(scope="module")
def daemon(site: Site) -> Daemon:
    return site.daemon


@pytest.fixture
def kubectl(kube: KubeServer) -> Iterator[Kubectl]:
    made = Kubectl(kube)
    with made.http:
        yield made
