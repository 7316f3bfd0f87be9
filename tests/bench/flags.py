# SPDX-License-Identifier: Apache-2.0
"""Jobs a second from their creation to their end with the flags that the role sets, against those of a stock cluster.

Controllers and scheduler are the real ones; kwok plays the nodes and ends each Pod at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml
from parts.autoscaler import MERGE, NAMESPACE, Cluster, prepare
from parts.kube import ROOT, KubeServer
from parts.kwok import MARK, Kwok

NODES = 50
JOBS = {"stock": 500, "role": 2000}  # stock would take many minutes
Flags = Mapping[str, Sequence[str]]
STOCK: Flags = {"kube-controller-manager": (), "kube-scheduler": ()}


def _of_role() -> Flags:
    variables = yaml.safe_load((ROOT / "roles/kubernetes/vars/main.yml").read_text(encoding="utf-8"))
    controllers: dict[str, Any] = variables["__kubernetes_controller_manager_args"]
    client = variables["__kubernetes_scheduler_config"]["clientConnection"]
    return {
        "kube-controller-manager": [f"--{name}={value}".lower() for name, value in controllers.items()],
        "kube-scheduler": [f"--kube-api-qps={client['qps']}", f"--kube-api-burst={client['burst']}"],
    }


def _add_nodes(cluster: Cluster) -> None:
    size = {"cpu": "32", "memory": "128Gi", "pods": "110"}
    for number in range(NODES):
        node = {
            "metadata": {"name": f"node-{number}", "annotations": MARK},
            "status": {"capacity": size, "allocatable": size},
        }
        cluster.http.post("/api/v1/nodes", json=node).raise_for_status()
        # A new node is tainted as not ready until a controller sees it, which does not run here.
        untainted = {"spec": {"taints": None}}
        cluster.http.patch(f"/api/v1/nodes/node-{number}", json=untainted, headers=MERGE).raise_for_status()


def _rate(cluster: Cluster, jobs: int) -> float:
    """Jobs a second, from the first request until the last has ended."""
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda number: cluster.job(f"job-{number}", 1, cpu="100m"), range(jobs)))
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    while cluster.objects(path, fieldSelector="status.successful=0", limit="1"):
        time.sleep(0.2)
    return jobs / (time.monotonic() - begin)


def _measure(folder: Path, flags: Flags, jobs: int) -> float:
    with KubeServer(folder, audit=False, scheduler=True, flags=flags) as kube:
        cluster = Cluster(kube)
        prepare(kube)
        with closing(Kwok(kube).start((0.0, 0.0))):
            _add_nodes(cluster)
            return _rate(cluster, jobs)


def main(folder: Path) -> None:
    found = {}
    for name, flags in (("stock", STOCK), ("role", _of_role())):
        found[name] = _measure(folder / name, flags, JOBS[name])
        print(f"flags of {name}: {found[name]:.1f} Jobs/s ({JOBS[name]} Jobs on {NODES} nodes)", flush=True)
    print(f"the role's flags against stock: {found['role'] / found['stock']:.1f} x")
