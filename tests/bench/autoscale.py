# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's daemon at a real API server, with nodes that kwok plays: how fast it reacts, and what it costs.

SCALE_NODES and SCALE_PODS say how large the cluster is in which its cost is measured.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.autoscaler import NAMESPACE, Autoscaler, Cluster, pool, prepare
from parts.kube import KubeServer
from parts.kwok import Kwok
from parts.kwok_cloud import KwokCloud
from parts.pod_record import PodRecord
from parts.waiting import eventually

from oscar_fedcloud.autoscaler.names import MACHINES

SINGLES, BURST = 40, 500
NODES = int(os.environ.get("SCALE_NODES", "1000"))
PODS = int(os.environ.get("SCALE_PODS", "30000"))
CHURN, SECONDS = 25, 30  # Pods a second that come, run and are deleted: four events each
PATIENCE = 120 + PODS / 10
PODS_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"


@dataclass
class Site:
    """All that runs."""

    cluster: Cluster
    record: PodRecord
    kwok: Kwok
    cloud: KwokCloud
    autoscaler: Autoscaler


@contextlib.contextmanager
def _site(folder: Path, pools: list[dict[str, Any]]) -> Iterator[Site]:
    """A cluster without nodes. The autoscaler has its usual times and is not started."""
    folder.mkdir()
    with KubeServer(folder / "kube", audit=False, scheduler=True) as kube:
        cluster, kubeconfig = Cluster(kube), prepare(kube)
        with Kwok(kube) as kwok, PodRecord(kube) as record, KwokCloud(cluster, pools) as cloud:
            times = {"scan_interval": 10.0, "cloud_interval": 15.0}
            autoscaler = Autoscaler(folder, kubeconfig, cloud, pools=pools, **times)
            try:
                yield Site(cluster, record, kwok, cloud, autoscaler)
            finally:
                autoscaler.end(signal.SIGKILL)


def _start(site: Site) -> None:
    """Start the autoscaler. The first object of a kind that is new takes the API server 2 s: let it be none of ours."""
    machine = {
        "apiVersion": "oscar.fedcloud.eu/v1",
        "kind": "OscarMachine",
        "metadata": {"name": "first"},
        "spec": {"pool": "one", "cloud": "none"},
    }
    site.cluster.http.post(f"{MACHINES.path()}?dryRun=All", json=machine).raise_for_status()
    site.autoscaler.start()
    eventually(lambda: site.autoscaler.figure("oscar_autoscaler_leading") == 1)


def _pod(name: str, node: str = "", **requests: str) -> dict[str, Any]:
    container = {"name": "c", "image": "example.org/c:1", "resources": {"requests": requests}}
    spec = {"containers": [container], **({"nodeName": node} if node else {})}
    return {"metadata": {"name": name}, "spec": spec}


# -- how fast it reacts --------------------------------------------------------------------------------------------


def _singles(folder: Path) -> None:
    """One Pod at a time, each of which takes a node of its own."""
    pools = [pool("one", labels={}, capacity={"cpu": 1, "memory": "4Gi"}, max=SINGLES, idle=3600.0)]
    waits = []
    with _site(folder, pools) as site:
        _start(site)
        for number in range(SINGLES):
            site.cluster.http.post(PODS_PATH, json=_pod(f"p{number}", cpu="1")).raise_for_status()
            eventually(lambda: site.record.check().bound > number, 60)  # noqa: B023  called at once
            since = site.record.pods[f"{NAMESPACE}/p{number}"].unschedulable
            waits.append((site.cloud.asked[number].at - since) * 1000)
            time.sleep(random.uniform(0.5, 1.0))
    percentiles = statistics.quantiles(waits, n=100, method="inclusive")
    print(
        f"Pod unschedulable -> request at the cloud: p50 {percentiles[49]:.0f} ms, p99 {percentiles[98]:.0f} ms, "
        f"max {max(waits):.0f} ms ({SINGLES} Pods, in turn)",
        flush=True,
    )


def _burst(folder: Path, name: str, make: Callable[[Cluster, str, int], None]) -> None:
    """Many Pods at once for two pools. make: from the cluster, a kind and a number, that many Pods."""
    kinds, size = ("a", "b"), {"cpu": 10, "memory": "64Gi"}
    pools = [pool(f"pool-{kind}", labels={"kind": kind}, capacity=size, max=BURST, idle=3600.0) for kind in kinds]
    with _site(folder, pools) as site:
        _start(site)
        begin = time.time()
        for kind in kinds:
            make(site.cluster, kind, BURST // len(kinds))
        eventually(lambda: site.record.check().bound == BURST, PATIENCE)
        asked = {kind: [each for each in site.cloud.asked if each.pool == f"pool-{kind}"] for kind in kinds}
        first, last = ((find(each.at for each in site.cloud.asked) - begin) * 1000 for find in (min, max))
        unschedulable = [seen.unschedulable for seen in site.record.pods.values() if seen.unschedulable]
        told = "" if not unschedulable else f", Pods unschedulable after {(min(unschedulable) - begin) * 1000:.0f} ms"
    print(
        f"{BURST} Pods at once, {name}: {' + '.join(str(len(each)) for each in asked.values())} batches of two pools, "
        f"{sum(len(each.names) for each in site.cloud.asked)} nodes for {BURST // 10}; "
        f"the first request after {first:.0f} ms, the last after {last:.0f} ms{told}",
        flush=True,
    )


def _one_job(cluster: Cluster, kind: str, pods: int) -> None:
    cluster.job(f"burst-{kind}", pods, nodeSelector={"kind": kind})


def _many_jobs(cluster: Cluster, kind: str, pods: int) -> None:
    def make(number: int) -> None:
        cluster.job(f"burst-{kind}-{number}", 1, nodeSelector={"kind": kind})

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(make, range(pods)))


# -- what it costs -------------------------------------------------------------------------------------------------


def _fill(site: Site, names: list[str]) -> None:
    """All nodes, and on each the same number of Pods of a Job, past the scheduler."""
    for name in names:
        site.cloud.start(name, "one")
    eventually(lambda: len(site.cluster.nodes()) == NODES, PATIENCE)
    for name in names:
        site.cluster.job(f"job-{name}", PODS // NODES, cpu="100m", nodeName=name)
    eventually(lambda: site.record.check().bound == PODS // NODES * NODES, PATIENCE)
    _wait_until_still(site)


def _wait_until_still(site: Site) -> None:
    """Until nobody writes to the cluster any more, but for a Lease now and then."""
    before = -100
    while (now := site.cloud.revision()) - before > 10:
        before = now
        time.sleep(3.0)


def _churn(site: Site, names: list[str]) -> None:
    """Pods come to nodes, run and are deleted, at a steady rate."""
    http, begin = site.cluster.http, time.monotonic()

    def live(number: int) -> None:
        name = f"churn-{number}-{begin:.0f}"
        http.post(PODS_PATH, json=_pod(name, random.choice(names), cpu="10m")).raise_for_status()
        time.sleep(1.0)
        http.request("DELETE", f"{PODS_PATH}/{name}", json={"gracePeriodSeconds": 0})

    with ThreadPoolExecutor(2 * CHURN) as workers:
        for number in range(CHURN * SECONDS):
            time.sleep(max(0.0, begin + number / CHURN - time.monotonic()))
            workers.submit(live, number)


def _processor_time(pid: int) -> float:
    """Seconds that a process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> float:
    """Resident memory in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def _measure(site: Site, pid: int, title: str, work: Callable[[], None]) -> None:
    """Print what the daemon uses while some work is done."""
    events, used, begin = site.record.events, _processor_time(pid), time.monotonic()
    work()
    seconds = time.monotonic() - begin
    print(
        f"{NODES} nodes, {PODS} Pods, {title}: {(site.record.events - events) / seconds:.0f} Pod events/s, "
        f"{(_processor_time(pid) - used) / seconds:.1%} of a core, {_resident(pid):.0f} MB",
        flush=True,
    )


def _cost(folder: Path) -> None:
    """Processor share and memory of the daemon in a large cluster, without and with changes."""
    capacity = {"cpu": f"{100 * PODS // NODES + 1000}m", "memory": "64Gi"}
    pools = [pool("one", labels={}, capacity=capacity, max=2 * NODES, idle=3600.0)]
    names = [f"oscar-one-{number:05}" for number in range(NODES)]
    with _site(folder, pools) as site:
        _fill(site, names)
        _start(site)
        eventually(lambda: list(site.cluster.machines().values()).count("joined") == NODES, PATIENCE)
        _wait_until_still(site)
        process = site.autoscaler.process
        assert process is not None
        _measure(site, process.pid, "nothing happens", lambda: time.sleep(SECONDS))
        _measure(site, process.pid, "Pods come and go", lambda: _churn(site, names))
        name = "oscar_autoscaler_decision_seconds"
        decided, count = (site.autoscaler.figure(f"{name}_{each}") for each in ("sum", "count"))
        print(f"a decision took {decided / count * 1000:.1f} ms (mean of {count:.0f})")


def main(folder: Path) -> None:
    _singles(folder / "singles")
    _burst(folder / "job", "a Job for each pool", _one_job)
    _burst(folder / "jobs", "a Job for each Pod", _many_jobs)
    _cost(folder / "cost")
