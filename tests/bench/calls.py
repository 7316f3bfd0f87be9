# SPDX-License-Identifier: Apache-2.0
"""How many requests to the API server an event costs, by the server's own audit log, with one service and with many.

The first event of each service, which makes its ConfigMap and its Secret, is not counted.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import load
from cluster import CONNECTIONS, HOOK, count
from parts.kube import KubeServer
from parts.kubelet import ClusterSite, cluster_site
from parts.site import file_service

EVENTS = 2000
SERVICES = (1, 100)


def _send(site: ClusterSite, names: list[str], prefix: str, events: int) -> None:
    """So many events for each service, until all have their Jobs."""
    wanted = count(site.kubelet.http) + events * len(names)
    for name in names:
        requests = load.hook_requests(HOOK, site.minio.durable_token, name, prefix, events)
        load.run(site.daemon.port, requests, min(events, CONNECTIONS))
    while count(site.kubelet.http) < wanted:
        time.sleep(0.2)


def _measure(folder: Path, services: int) -> None:
    names = [f"bench-{number}" for number in range(services)]
    with KubeServer(folder / "kube") as kube, cluster_site(folder / "site", kube) as site:
        documents = [file_service(name, "true", image="example.org/tool:1") for name in names]
        site.daemon.apply(*documents)
        site.daemon.wait_ready(*names, timeout=1200)
        _send(site, names, "in/first/", 1)  # makes the ConfigMap and the Secret of each service
        time.sleep(5)
        before, begin = len(kube.requests()), time.monotonic()
        _send(site, names, "in/more/", EVENTS // services)
        seconds = time.monotonic() - begin
        time.sleep(1)
        made = kube.requests()[before:]
    kinds = Counter((each["verb"], each["objectRef"]["resource"]) for each in made)
    told = ", ".join(f"{number} {verb} {kind}" for (verb, kind), number in kinds.most_common())
    print(
        f"{services} services, {EVENTS} events in {seconds:.0f} s: {len(made) / EVENTS:.3f} requests per event ({told})"
    )


def main(folder: Path) -> None:
    for services in SERVICES:
        _measure(folder / str(services), services)
