# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's decisions over 1,000 nodes and 30,000 Pods, all made up: time, processor share and memory."""

from __future__ import annotations

import gc
import random
import statistics
import time
from pathlib import Path
from typing import Any

import msgspec

from oscar_fedcloud.autoscaler.cluster.objects import Node
from oscar_fedcloud.autoscaler.cluster.pods import Pod
from oscar_fedcloud.autoscaler.cluster.state import State
from oscar_fedcloud.autoscaler.model import MachineView, Pool, Rules
from oscar_fedcloud.autoscaler.names import POOL_LABEL
from oscar_fedcloud.autoscaler.planning.decide import decide

NODES, PODS, SHAPES, ROUNDS, EVENTS_A_SECOND = 1000, 30_000, 20, 300, 100
GIB = 2**30
POOL = Pool("worker", "cloud", {}, {"cpu": 10_500, "memory": 62 * GIB, "pods": 110}, max=2000)
SHAPE = [{"cpu": f"{100 + 25 * number}m", "memory": f"{256 + 64 * number}Mi"} for number in range(SHAPES)]


def node(number: int) -> bytes:
    """A ready node as the API server shows it, with the parts that take the most room."""
    images = [{"names": [f"registry.example/image-{each}@sha256:{each:064}"], "sizeBytes": each} for each in range(30)]
    return msgspec.json.encode(
        {
            "metadata": {"name": f"n{number:04}", "labels": {POOL_LABEL: "worker", "kubernetes.io/os": "linux"}},
            "spec": {"providerID": f"oscar://bench/n{number:04}"},
            "status": {
                "allocatable": {"cpu": "10500m", "memory": "62Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
                "images": images,
            },
        }
    )


def pod(number: int, where: str = "", phase: str = "Pending") -> bytes:
    """A Pod of a Job, on a node or without one."""
    labels = {
        "app.kubernetes.io/managed-by": "oscar-invoker",
        "oscar.fedcloud.eu/service": f"service-{number % SHAPES}",
        "oscar.fedcloud.eu/event": f"{number:020x}",
        "batch.kubernetes.io/job-name": f"job-{number}",
    }
    requests = SHAPE[(number + number // NODES) % SHAPES]
    reason = {"status": "True"} if where else {"status": "False", "reason": "Unschedulable", "message": "0/1000 nodes"}
    container: dict[str, Any] = {
        "name": "oscar-container",
        "image": "registry.example/image:1",
        "resources": {"requests": requests, "limits": {"memory": requests["memory"]}},
        "env": [{"name": f"VARIABLE_{each}", "value": "x" * 40} for each in range(30)],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "work", "emptyDir": {}}],
        **({"nodeName": where} if where else {}),
    }
    metadata = {
        "name": f"job-{number}-abcde",
        "namespace": "oscar-services",
        "uid": f"{number:036}",
        "labels": labels,
        "ownerReferences": [{"kind": "Job", "name": f"job-{number}", "controller": True}],
    }
    status = {"phase": phase, "conditions": [{"type": "PodScheduled", **reason}]}
    return msgspec.json.encode({"metadata": metadata, "spec": spec, "status": status})


class Bench:
    """A cluster in memory, its nodes nearly full. waiting: how many of its Pods have no node."""

    def __init__(self, waiting: int) -> None:
        self.state = State()
        self.pods = msgspec.json.Decoder(Pod)
        nodes = msgspec.json.Decoder(Node)
        now = time.time()
        for number in range(NODES):
            self.state.node("ADDED", nodes.decode(node(number)))
        for number in range(PODS):
            where = "" if number < waiting else f"n{number % NODES:04}"
            self.state.pod("ADDED", self.pods.decode(pod(number, where, "Running")))
        gc.freeze()  # as the observer does
        self.machines = {name: MachineView(name, "worker", "joined", now, now) for name in self.state.nodes}

    def decide(self) -> tuple[float, float]:
        """Seconds that a snapshot and the decision from it take, by the clock and of the processor."""
        begin, used = time.perf_counter(), time.process_time()
        found = self.state.snapshot(time.time(), machines=self.machines, health={})
        decide(found, (POOL,), Rules())
        return time.perf_counter() - begin, time.process_time() - used

    def event(self, chance: random.Random) -> None:
        """A Pod ended on a node and another came there, as the watch tells it."""
        number = chance.randrange(PODS // 2, PODS)
        self.state.pod("DELETED", self.pods.decode(pod(number, f"n{number % NODES:04}", "Succeeded")))
        self.state.pod("ADDED", self.pods.decode(pod(number, f"n{chance.randrange(NODES):04}", "Running")))


def resident() -> float:
    """Resident memory in MB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def measure(waiting: int) -> None:
    """Print the times of decisions with events between them."""
    bench, chance = Bench(waiting), random.Random(1)
    decisions, events = [], []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(10):
            bench.event(chance)
        events.append((time.process_time() - begin) / 20)
        decisions.append(bench.decide())
    clock, processor = (statistics.quantiles(column, n=100) for column in zip(*decisions, strict=True))
    share = statistics.median(events) * EVENTS_A_SECOND
    print(
        f"{waiting:6} of {PODS} Pods wait: decision p50 {clock[49] * 1e3:.1f} ms, p99 {clock[98] * 1e3:.1f} ms "
        f"(processor {processor[49] * 1e3:.1f} and {processor[98] * 1e3:.1f}); "
        f"an event {statistics.median(events) * 1e6:.0f} µs, {EVENTS_A_SECOND} a second {share:.1%} of a core; "
        f"memory {resident():.0f} MB"
    )


def main(folder: Path) -> None:
    """Needs nothing of the folder."""
    print(f"{NODES} nodes, {PODS} Pods of {SHAPES} shapes; {ROUNDS} decisions, 20 Pod events before each")
    for waiting in (0, 500, 10_000):
        measure(waiting)


if __name__ == "__main__":
    main(Path())
