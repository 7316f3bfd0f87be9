# SPDX-License-Identifier: Apache-2.0
"""Events to Jobs of a real API server with its controllers, against a bare loop of 32 POSTs of the same Job in one run.

There are no nodes: a Job counts when it exists. Between the rounds all Jobs are deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import ssl
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import load
import uvloop
from parts.kube import NAMESPACE, KubeServer
from parts.kubelet import ClusterSite, cluster_site
from parts.site import file_service

EVENTS, BURST, ROUNDS, CONNECTIONS = 2000, 500, 3, 32
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
HOOK = "/hooks/minio/minio.default/durable"


def count(http: httpx.Client) -> int:
    """How many Jobs there are."""
    listed = http.get(JOBS, params={"limit": 1}).json()
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))


def rate(http: httpx.Client, base: int = 0) -> float:
    """Jobs a second, from the 100th to the last but 100."""
    marks: list[tuple[float, int]] = []
    while (now := count(http) - base) < EVENTS:
        marks.append((time.perf_counter(), now))
        time.sleep(0.02)
    inner = [mark for mark in marks if 100 <= mark[1] <= EVENTS - 100]
    return (inner[-1][1] - inner[0][1]) / (inner[-1][0] - inner[0][0])


def clear(http: httpx.Client) -> None:
    """Delete all Jobs and their Pods."""
    options = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    while count(http) or http.get(pods, params={"limit": 1}).json()["items"]:
        with contextlib.suppress(httpx.HTTPError):  # the server gives up long before so many are deleted
            http.request("DELETE", JOBS, json=options, timeout=90)
        time.sleep(1)
    time.sleep(2)


def body_of(job: dict[str, Any], name: str) -> bytes:
    """The request that made a Job, under another name."""
    metadata = {"name": name, "labels": job["metadata"]["labels"]}
    spec = {key: job["spec"][key] for key in ("backoffLimit", "ttlSecondsAfterFinished", "template")}
    labels = spec["template"]["metadata"]["labels"]
    for made in [label for label in labels if "job-name" in label or "controller-uid" in label]:
        del labels[made]
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}).encode()


def bare_loop(kube: KubeServer, bodies: list[bytes]) -> float:
    """Jobs a second that so many connections make, each sending one after the other."""

    async def send_all() -> float:
        context = ssl.create_default_context(cafile=kube.pki.certificate)
        context.load_cert_chain(kube.pki.folder / "admin.crt", kube.pki.folder / "admin.key")
        connector = aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS)
        source = iter(bodies)
        async with aiohttp.ClientSession(kube.url, connector=connector) as session:

            async def send() -> None:
                for body in source:
                    async with session.post(JOBS, data=body, headers={"Content-Type": "application/json"}) as answer:
                        assert answer.status == 201, await answer.text()
                        await answer.read()

            begin = time.perf_counter()
            await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
            return len(bodies) / (time.perf_counter() - begin)

    return uvloop.run(send_all())


def backlog(site: ClusterSite, number: int) -> float:
    """Jobs a second from a ledger that holds all events already."""
    daemon, http = site.daemon, site.kubelet.http
    daemon.settings["launcher"]["max_running"] = 1
    _restart(site)
    token = site.minio.durable_token
    load.run(daemon.port, load.hook_requests(HOOK, token, "bench", f"in/{number}/", EVENTS + 1), CONNECTIONS)
    daemon.stop()
    daemon.settings["launcher"]["max_running"] = 100_000
    daemon.write_config()
    base = count(http) - 1
    daemon.start()
    return rate(http, base)


def _restart(site: ClusterSite) -> None:
    site.daemon.stop()
    site.daemon.write_config()
    site.daemon.start()


def uploads(site: ClusterSite, number: int, offered: float) -> tuple[float, int]:
    """Jobs a second while files are put into MinIO at a rate; and how many Jobs there are in the end."""
    base = count(site.kubelet.http)
    clients = [site.minio.client() for _ in range(8)]

    def put(index: int) -> None:
        wait = begin + index / offered - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        clients[index % 8].put_object("bench", f"in/put-{number}-{index:06d}", io.BytesIO(b"x"), 1)

    with ThreadPoolExecutor(8) as pool:
        begin = time.perf_counter()
        done = pool.map(put, range(EVENTS))
        found = rate(site.kubelet.http, base)
        list(done)
    time.sleep(5)  # a second Job of a file would come by now
    return found, count(site.kubelet.http) - base


def idle(site: ClusterSite, http: httpx.Client) -> list[float]:
    """Seconds from the answer to a PUT until the Job exists, one file at a time, sorted."""
    client, found = site.minio.client(), []
    with http.stream("GET", JOBS, params={"watch": "true", "resourceVersion": _version(http)}, timeout=None) as watch:
        lines = watch.iter_lines()
        for number in range(100):
            client.put_object("bench", f"in/idle-{number}", io.BytesIO(b"x"), 1)
            begin = time.perf_counter()
            for line in lines:
                if '"type":"ADDED"' in line[:20] and f"in/idle-{number}\\n" in line:
                    found.append(time.perf_counter() - begin)
                    break
            time.sleep(0.2)
    return sorted(found)


def bare_alone(http: httpx.Client, sample: dict[str, Any]) -> list[float]:
    """Seconds that the API server takes to make a Job when idle, one at a time, sorted."""
    found = []
    for number in range(100):
        begin = time.perf_counter()
        http.post(
            JOBS, content=body_of(sample, f"alone-{number}"), headers={"Content-Type": "application/json"}
        ).raise_for_status()
        found.append(time.perf_counter() - begin)
        time.sleep(0.2)
    return sorted(found)


def at_once(site: ClusterSite, http: httpx.Client) -> list[float]:
    """Seconds from the answer to a PUT until the Job exists, with many files at once, sorted."""
    clients, answered, made = [site.minio.client() for _ in range(16)], {}, {}

    def put(number: int) -> None:
        clients[number % 16].put_object("bench", f"in/burst-{number}-", io.BytesIO(b"x"), 1)
        answered[str(number)] = time.perf_counter()

    query = {"watch": "true", "resourceVersion": _version(http)}
    with ThreadPoolExecutor(16) as pool, http.stream("GET", JOBS, params=query, timeout=None) as watch:
        pool.map(put, range(BURST))
        for line in watch.iter_lines():
            if '"type":"ADDED"' in line[:20]:
                made[line.partition("in/burst-")[2].partition("-")[0]] = time.perf_counter()
            if len(made) == BURST:
                break
    return sorted(made[number] - when for number, when in answered.items())


def _version(http: httpx.Client) -> str:
    version: str = http.get(JOBS, params={"limit": 1}).json()["metadata"]["resourceVersion"]
    return version


@contextlib.contextmanager
def _sites(folder: Path) -> Iterator[tuple[KubeServer, ClusterSite]]:
    with KubeServer(folder / "kube", audit=False) as kube, cluster_site(folder / "site", kube) as site:
        once = {"attempts": 1, "infrastructure": 0}  # Jobs that the bench deletes do not come back
        site.daemon.apply(file_service("bench", "true", image="example.org/tool:1", retry=once))
        site.daemon.wait_ready("bench")
        yield kube, site


def main(folder: Path) -> None:
    with _sites(folder) as (kube, site):
        http = site.kubelet.http
        site.minio.client().put_object("bench", "in/first", io.BytesIO(b"x"), 1)
        sample = site.kubelet.jobs("bench")[0]
        clear(http)
        ratios, ours, bare = [], [], []
        for number in range(ROUNDS):
            bare.append(bare_loop(kube, [body_of(sample, f"bare-{number}-{each}") for each in range(EVENTS)]))
            clear(http)
            ours.append(backlog(site, number))
            clear(http)
            ratios.append(ours[-1] / bare[-1])
            print(
                f"  bare loop {bare[-1]:.0f}/s   from the ledger {ours[-1]:.0f}/s   ratio {ratios[-1]:.2f}", flush=True
            )
        print(
            f"2,000 queued events: {statistics.median(ours):.0f} Jobs/s, {statistics.median(ratios):.2f} of a bare loop"
        )
        _restart(site)
        found, alone = idle(site, http), bare_alone(http, sample)
        print(
            f"one file, idle: PUT answered -> Job exists p50 {found[50] * 1e3:.1f} ms  p90 {found[90] * 1e3:.1f} ms; "
            f"a bare POST of the Job p50 {alone[50] * 1e3:.1f} ms",
            flush=True,
        )
        clear(http)
        found = at_once(site, http)
        print(
            f"{BURST} files at once: PUT answered -> Job exists p50 {found[BURST // 2] * 1e3:.0f} ms  "
            f"p99 {found[BURST * 99 // 100] * 1e3:.0f} ms",
            flush=True,
        )
        clear(http)
        for number in range(ROUNDS):
            made, jobs = uploads(site, number, 400.0)
            print(f"2,000 uploads offered at 400/s: {made:.0f} Jobs/s; {jobs} Jobs", flush=True)
            clear(http)
