# SPDX-License-Identifier: Apache-2.0
"""A cloud in memory, and the autoscaler's actions over it and over an API server in memory, with one journal of all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from parts.kube_memory import KubeMemory

from oscar_fedcloud.autoscaler.clouds.protocol import CloudMachine, CloudUnavailable, Headroom, MachineRequest
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig, PoolConfig
from oscar_fedcloud.autoscaler.machines.context import ActionContext
from oscar_fedcloud.autoscaler.machines.events import EventPoster
from oscar_fedcloud.autoscaler.machines.machines import MachineStore
from oscar_fedcloud.autoscaler.machines.pool_health_store import PoolHealthStore
from oscar_fedcloud.autoscaler.machines.userdata import JoinTarget
from oscar_fedcloud.autoscaler.model import MachinePhase, MachineView
from oscar_fedcloud.autoscaler.names import MACHINES, NODES
from oscar_fedcloud.autoscaler.reporting.history import History
from oscar_fedcloud.autoscaler.reporting.metrics import Metrics
from oscar_fedcloud.kube import ResourceType

NOW = 1_800_000_000.0


class MemoryCloud:
    """Machines are there at once. fails: called with the name of each call; True = no answer.

    lost: ``create`` carries the request out, and its answer gets lost. error: what ``create`` raises, having done
    nothing. refuses: names that it refuses. free: what its quota lets.
    """

    can_stop = True

    def __init__(self, journal: list[str], name: str = "here") -> None:
        self.name = name
        self.journal = journal
        self.vms: dict[str, CloudMachine] = {}
        self.batches: list[list[MachineRequest]] = []
        self.fails: Callable[[str], bool] = lambda call: False
        self.lost = False
        self.error: Exception | None = None
        self.free: int | None = None
        self.refuses: Callable[[str], str] = lambda name: ""

    def _note(self, call: str, names: Collection[str] = ()) -> None:
        if self.fails(call):
            raise CloudUnavailable(f"no answer to {call}")
        self.journal.append(" ".join(["CLOUD", call, *sorted(names)]))

    def add(self, name: str, pool: str = "small", state: Any = "running", **fields: Any) -> None:
        """A machine that is there; its id is its name unless given."""
        machine = CloudMachine(**{"id": name, "name": name, "pool": pool, "state": state, **fields})
        self.vms[machine.id] = machine

    def names(self) -> list[str]:
        """All that is there."""
        return sorted(each.name for each in self.vms.values())

    def check(self, template: Mapping[str, Any]) -> list[str]:
        return []

    async def open(self) -> None:
        self._note("open")

    async def close(self) -> None:
        self._note("close")

    async def machines(self) -> list[CloudMachine]:
        self._note("machines")
        return list(self.vms.values())

    async def create(self, requests: Sequence[MachineRequest]) -> dict[str, str]:
        self._note("create", [each.name for each in requests])
        self.batches.append(list(requests))
        if self.error:
            raise self.error
        refused = {each.name: why for each in requests if (why := self.refuses(each.name))}
        for each in requests:
            if each.name not in refused and each.name not in self.names():
                self.add(each.name, each.pool)
        if self.lost:
            raise CloudUnavailable("the answer got lost")
        return refused

    async def delete(self, ids: Collection[str]) -> None:
        self._note("delete", ids)
        for each in ids:
            self.vms.pop(each, None)

    async def stop(self, ids: Collection[str]) -> None:
        self._note("stop", ids)
        for each in ids:
            self.add(each, state="stopped")

    async def start(self, ids: Collection[str]) -> None:
        self._note("start", ids)
        for each in ids:
            self.add(each, state="running")

    async def headroom(self, template: Mapping[str, Any]) -> Headroom:
        self._note("headroom")
        return Headroom(self.free)

    def expires(self) -> float | None:
        return None


class Bench:
    """The actions' context over memory, and what a test needs to set it up and look at it."""

    def __init__(self, folder: Path, **pool: Any) -> None:
        self.journal: list[str] = []
        self.kube = KubeMemory(self.journal)
        self.cloud = MemoryCloud(self.journal)
        self.now = NOW
        self.leading = True
        settings = {"name": "small", "cloud": "here", "template": {}, "capacity": {"cpu": 2}, **pool}
        client: Any = self.kube
        self.context = ActionContext(
            client=client,
            config=AutoscalerConfig(cluster="oscar", pools=(PoolConfig(**settings),), clouds={}, drain_timeout=3.0),
            cluster=JoinTarget("oscar", "10.0.0.1:6443", ("sha256:" + 64 * "0",)),
            clouds={"here": self.cloud},
            machines=MachineStore(client),
            health=PoolHealthStore(client, "oscar"),
            events=EventPoster(client),
            metrics=Metrics(),
            history=History(folder / "history.db"),
            may_act=lambda: self.leading,
            clock=lambda: self.now,
        )

    async def machine(self, name: str, phase: MachinePhase, *, vm: bool = True, node: bool = True, **spec: Any) -> None:
        """A machine in a phase, with its VM and its node. spec: of the node."""
        view = MachineView(name, "small", "asked", self.now, self.now)
        self.context.machines.expect(view, "here")
        await self.context.machines.create(name)
        if phase != "asked":
            await self.context.machines.set_phase(name, phase, self.now)
        if vm:
            self.cloud.add(name)
        if node:
            ready = {"type": "Ready", "status": "True" if phase not in ("asked", "starting", "failed") else "False"}
            status = {"conditions": [ready], "addresses": []}
            self.kube.put(NODES, {"metadata": {"name": name, "uid": name}, "spec": spec, "status": status})
        self.journal.clear()

    def pod(self, name: str, node: str, owner: str = "", phase: str = "Running", **metadata: Any) -> None:
        """A Pod on a node. owner: kind of its controller."""
        volumes = metadata.pop("volumes", [])
        owners = [{"kind": owner, "name": "o", "controller": True}] if owner else []
        metadata = {"name": name, "namespace": "team", "ownerReferences": owners, **metadata}
        body = {"metadata": metadata, "spec": {"nodeName": node, "volumes": volumes}, "status": {"phase": phase}}
        self.kube.put(ResourceType("v1", "pods", "team"), body)

    def phase(self, name: str) -> str:
        """The phase that is written down; "" = there is no object."""
        found = self.kube.has(MACHINES, name)
        return found.get("status", {}).get("phase", "asked") if found else ""

    def calls(self, call: str) -> list[str]:
        """What the cloud was asked of one kind."""
        return [line for line in self.journal if line.startswith(f"CLOUD {call}")]
