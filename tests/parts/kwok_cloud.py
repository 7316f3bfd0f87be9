# SPDX-License-Identifier: Apache-2.0
"""A cloud of any size for the tests of scale: a machine is a node that kwok plays.

Its executables hand their requests to this process, so that there is one clock and one list of what really is there.
"""

from __future__ import annotations

import json
import socketserver
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.autoscaler import Cluster
from parts.kwok import MARK

from oscar_fedcloud.autoscaler.names import POOL_LABEL

_MERGE = {"Content-Type": "application/merge-patch+json"}


@dataclass(frozen=True)
class Asked:
    """A request to create machines. at: when the cloud had it, s since the epoch."""

    at: float
    pool: str
    names: tuple[str, ...]


class KwokCloud:
    """pools: those of the autoscaler's configuration, by which nodes get their labels and their size.

    asked: the requests for machines. removed: machines that it was told to delete -> the API server's revision then.
    """

    def __init__(self, cluster: Cluster, pools: Sequence[Mapping[str, Any]]) -> None:
        self.http = cluster.http
        self.pools = {pool["name"]: pool for pool in pools}
        self.vms: dict[str, dict[str, Any]] = {}
        self.asked: list[Asked] = []
        self.removed: dict[str, int] = {}
        self.failed: list[Exception] = []
        self._boots = ThreadPoolExecutor(8)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.cloud = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> KwokCloud:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)
        self._boots.shutdown(cancel_futures=True)

    def settings(self) -> dict[str, Any]:
        """What stands in the autoscaler's configuration."""
        client, port = str(Path(__file__).with_name("kwok_cloud_client.sh")), str(self._server.server_address[1])
        verbs = {verb: ["/bin/bash", client, port, verb] for verb in ("add", "list", "remove")}
        return {"type": "command", "timeout": 60.0, **verbs}

    def names(self, pool: str = "") -> list[str]:
        """The machines that are there, of one pool or of all."""
        return sorted(each["name"] for each in list(self.vms.values()) if pool in ("", each["pool"]))

    # -- what the executables ask for ------------------------------------------------------------------------------

    def add(self, request: Mapping[str, Any], at: float) -> dict[str, Any]:
        """Machines are there at once, their nodes a moment later."""
        there = set(self.names())
        new = [each for each in request["machines"] if each["name"] not in there]
        self.asked.append(Asked(at, request["machines"][0]["pool"], tuple(each["name"] for each in new)))
        for each in new:
            self.start(each["name"], each["pool"])
        return {}

    def list(self, request: Mapping[str, Any], at: float) -> dict[str, Any]:
        """All that is there."""
        return {"machines": list(self.vms.values())}

    def remove(self, request: Mapping[str, Any], at: float) -> dict[str, Any]:
        """Machines vanish at once; their nodes stay until somebody deletes them."""
        revision = self.revision()
        for each in request["ids"]:
            if vm := self.vms.pop(each, None):
                self.removed[vm["name"]] = revision
        return {}

    def revision(self) -> int:
        """How far the cluster is: the API server's revision, by a consistent read."""
        listed = self.http.get("/api/v1/nodes", params={"limit": 1}).raise_for_status().json()
        return int(listed["metadata"]["resourceVersion"])

    # -- machines --------------------------------------------------------------------------------------------------

    def start(self, name: str, pool: str) -> None:
        """Have a machine, whose node comes as soon as it can."""
        vm = {"id": str(uuid.uuid4()), "name": name, "pool": pool, "state": "running", "created": time.time()}
        self.vms[vm["id"]] = vm
        self._boots.submit(self._boot, name, self.pools[pool])

    def _boot(self, name: str, pool: Mapping[str, Any]) -> None:
        try:
            self._join(name, pool)
        except Exception as error:
            self.failed.append(error)

    def _join(self, name: str, pool: Mapping[str, Any]) -> None:
        """What a kubelet does when it registers its node. The rest does kwok."""
        labels = {POOL_LABEL: pool["name"], "kubernetes.io/hostname": name, **pool["labels"]}
        size = {key: str(value) for key, value in pool["capacity"].items()} | {"pods": "110"}
        node = {
            "metadata": {"name": name, "labels": labels, "annotations": MARK},
            "spec": {"providerID": f"oscar://oscar/{name}"},
            "status": {"capacity": size, "allocatable": size},
        }
        self.http.post("/api/v1/nodes", json=node).raise_for_status()
        # what the controller of nodes does, which does not run here: a Ready node loses the taint of one that is not
        untainted = {"spec": {"taints": None}}
        self.http.patch(f"/api/v1/nodes/{name}", json=untainted, headers=_MERGE).raise_for_status()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64
    cloud: KwokCloud


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        verb, document, at = self.rfile.readline().decode().strip(), self.rfile.readline(), time.time()
        assert isinstance(self.server, _Server)
        work = getattr(self.server.cloud, verb)
        self.wfile.write(json.dumps(work(json.loads(document), at)).encode())
