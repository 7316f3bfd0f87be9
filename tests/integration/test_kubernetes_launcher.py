# SPDX-License-Identifier: Apache-2.0
"""Uploads become Jobs of a real API server, through the real daemon and with the rights of its service account.

There is no node: the test says how Pods stand.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from parts.kube import KubeServer
from parts.kubelet import ClusterSite, cluster_site
from parts.site import file_service


@pytest.fixture(scope="module")
def kube() -> Iterator[KubeServer]:
    """A control plane for the tests of this file."""
    with KubeServer() as running:
        yield running


@pytest.fixture(scope="module")
def site(kube: KubeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSite]:
    """A site in front of it."""
    with cluster_site(tmp_path_factory.mktemp("site"), kube) as running:
        yield running


def upload(site: ClusterSite, bucket: str, key: str, body: bytes = b"content") -> None:
    site.minio.client().put_object(bucket, key, io.BytesIO(body), len(body))


def test_an_upload_becomes_a_job(site: ClusterSite) -> None:
    site.daemon.apply(file_service("first", "echo hello", image="example.org/tool:1"))
    site.daemon.wait_ready("first")
    upload(site, "first", "in/a.txt")
    job = site.kubelet.jobs("first")[0]
    site.kubelet.end(job["metadata"]["name"])
    [ended] = site.daemon.wait_jobs(1, service="first")
    assert ended["state"] == "succeeded"
