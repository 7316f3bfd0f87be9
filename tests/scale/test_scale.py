# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's daemon with a cluster of a thousand nodes: a real control plane, and kwok that plays the nodes.

SCALE_NODES and SCALE_PODS make it another size. That no work was lost is judged by the API server's own record of Pods
and by what the cloud was told, not by what the autoscaler says.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts.autoscaler import Autoscaler, Cluster, pool, prepare
from parts.kube import KubeServer
from parts.kwok import Kwok
from parts.kwok_cloud import KwokCloud
from parts.pod_record import PodRecord
from parts.waiting import eventually

pytestmark = pytest.mark.scale

NODES = int(os.environ.get("SCALE_NODES", "1000"))
PODS = int(os.environ.get("SCALE_PODS", "30000"))
KINDS = ("a", "b", "c", "d")  # of nodes, a pool for each
JOB = 500  # Pods of one Job, at most
PATIENCE = 120 + PODS / 10  # s until a test that hangs is given up
ENDS = (1.0, 15.0)  # s that Pods of Jobs run, once they are allowed to end


def pools() -> list[dict[str, Any]]:
    """One pool for each kind, of nodes that hold the same number of Pods. They could be twice as many as are needed."""
    capacity = {"cpu": f"{100 * PODS // NODES}m", "memory": "16Gi"}
    most = 2 * NODES // len(KINDS)
    return [
        pool(
            f"pool-{kind}",
            labels={"site.example/kind": kind},
            capacity=capacity,
            max=most,
            idle=5.0,
            startup_timeout=900.0,
        )
        for kind in KINDS
    ]


@pytest.fixture
def kube() -> Iterator[KubeServer]:
    with KubeServer(audit=False, scheduler=True) as server:
        yield server


@pytest.fixture
def cluster(kube: KubeServer) -> Iterator[Cluster]:
    found = Cluster(kube)
    yield found
    found.http.close()


@pytest.fixture
def record(kube: KubeServer) -> Iterator[PodRecord]:
    with PodRecord(kube) as found:
        yield found


@pytest.fixture
def kwok(kube: KubeServer) -> Iterator[Kwok]:
    with Kwok(kube) as running:
        yield running


@pytest.fixture
def cloud(cluster: Cluster) -> Iterator[KwokCloud]:
    with KwokCloud(cluster, pools()) as found:
        yield found


@pytest.fixture
def autoscaler(tmp_path: Path, kube: KubeServer, cloud: KwokCloud) -> Iterator[Autoscaler]:
    found = Autoscaler(tmp_path, prepare(kube), cloud, pools=pools(), cloud_interval=5.0)
    found.start()
    yield found
    found.end(signal.SIGKILL)


def test_from_nothing_to_a_thousand_nodes_and_back_without_a_kill(
    autoscaler: Autoscaler, cluster: Cluster, record: PodRecord, kwok: Kwok, cloud: KwokCloud
) -> None:
    jobs = burst(cluster)
    eventually(lambda: record.check().bound == jobs, PATIENCE)
    for kind in KINDS:  # no Pod has room to spare, so the needed number of nodes is known
        assert NODES // len(KINDS) <= len(cloud.names(f"pool-{kind}")) <= NODES // len(KINDS) + 1
    now = cloud.revision()
    assert len(record.killed(dict.fromkeys(cloud.names(), now))) == jobs  # that is what a kill would look like
    kwok.stop()
    kwok.start(ENDS)
    jobs += latecomers(cluster, cloud)
    eventually(lambda: record.check().ended == jobs, PATIENCE)
    eventually(lambda: not cloud.names() and not cluster.machines() and not cluster.nodes(), PATIENCE)
    assert not cluster.tokens()
    assert record.killed(cloud.removed) == []
    assert record.killed(record.deleted_nodes) == []
    asked = [name for request in cloud.asked for name in request.names]
    assert len(asked) == len(set(asked))
    assert set(asked) == set(cloud.removed) == set(record.deleted_nodes) >= {seen.node for seen in record.pods.values()}
    assert any(seen.bound > min(cloud.removed.values()) for seen in record.pods.values())  # work came while nodes went
    assert not cloud.failed


def burst(cluster: Cluster) -> int:
    """Jobs for all kinds of nodes, one kind after the other; how many Pods."""
    each = PODS // len(KINDS)
    for kind in KINDS:
        for number, begin in enumerate(range(0, each, JOB)):
            run(cluster, f"{kind}-{number}", min(JOB, each - begin), kind)
    return each * len(KINDS)


def latecomers(cluster: Cluster, cloud: KwokCloud) -> int:
    """A Pod each second, for one kind after the other, until a third of the nodes has gone; how many Pods."""
    count, deadline = 0, time.monotonic() + PATIENCE
    while len(cloud.removed) < NODES / 3:
        assert time.monotonic() < deadline, f"only {len(cloud.removed)} nodes have gone"
        run(cluster, f"late-{count}", 1, KINDS[count % len(KINDS)])
        count += 1
        time.sleep(1.0)
    return count


def run(cluster: Cluster, name: str, pods: int, kind: str) -> None:
    """A Job whose Pods go to nodes of one kind."""
    cluster.job(name, pods, cpu="100m", nodeSelector={"site.example/kind": kind})
