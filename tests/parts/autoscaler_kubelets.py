# SPDX-License-Identifier: Apache-2.0
"""What cloud-init, kubeadm and kubelets do with the machines of a cloud, at a control plane without nodes."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import yaml
from parts.autoscaler import MERGE, Cluster
from parts.clouds import CommandPlace


class Kubelets:
    """Turns each VM of a cloud into a Ready node, from its user data alone, and runs what the scheduler gives it.

    killed: Pods of Jobs that had not ended when their VM vanished, by the cloud's own list. refused: machines whose
    token was not valid. joins: whether a VM becomes a node, by its name.
    """

    def __init__(self, cluster: Cluster, place: CommandPlace, joins: Callable[[str], bool] = lambda name: True) -> None:
        self.cluster = Cluster(cluster.kube)
        self.place = place
        self.joins = joins
        self.killed: list[str] = []
        self.refused: list[str] = []
        self._known: set[str] = set()
        self._placed: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Kubelets:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self.cluster.http.close()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            with contextlib.suppress(httpx.HTTPError, StopIteration, json.JSONDecodeError):  # away, or being written
                self._round()

    def _round(self) -> None:
        there = set(self.place.names())
        for name in self._known - there:
            self.killed += [pod for pod, node in self._placed.items() if node == name]
            self._known.discard(name)
        for name in there - self._known:
            if self.joins(name):
                self._join(name)
                self._known.add(name)
        self._placed = self.cluster.placed()
        for each in self.cluster.pods():
            if each["spec"].get("nodeName") in self._known and each["status"]["phase"] == "Pending":
                self.cluster.say(each["metadata"]["name"], "Running")

    def _join(self, name: str) -> None:
        """What cloud-init, kubeadm and the kubelet do."""
        join = join_configuration(self.place.user_data(name))
        if not self._token_is_valid(join["discovery"]["bootstrapToken"]["token"]):
            self.refused.append(name)
            return
        registration = join["nodeRegistration"]
        arguments = {each["name"]: each["value"] for each in registration["kubeletExtraArgs"]}
        labels = dict(each.split("=") for each in arguments["node-labels"].split(","))
        node = {
            "metadata": {"name": registration["name"], "labels": {**labels, "kubernetes.io/hostname": name}},
            "spec": {"taints": registration["taints"], "providerID": arguments["provider-id"]},
        }
        self.cluster.http.post("/api/v1/nodes", json=node).raise_for_status()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
        size = {"cpu": "2", "memory": "4Gi", "pods": "110"}
        status = {"capacity": size, "allocatable": size, "conditions": [ready]}
        path = f"/api/v1/nodes/{name}/status"
        self.cluster.http.patch(path, json={"status": status}, headers=MERGE).raise_for_status()
        # what the controller of nodes does, which does not run here: a Ready node loses the taint of one that is not
        taints = {"spec": {"taints": registration["taints"] or None}}
        self.cluster.http.patch(f"/api/v1/nodes/{name}", json=taints, headers=MERGE).raise_for_status()

    def _token_is_valid(self, token: str) -> bool:
        identity, _, secret = token.partition(".")
        found = self.cluster.http.get(f"/api/v1/namespaces/kube-system/secrets/bootstrap-token-{identity}")
        if not found.is_success:
            return False
        data = {name: base64.b64decode(value).decode() for name, value in found.json()["data"].items()}
        return data["token-secret"] == secret and datetime.fromisoformat(data["expiration"]) > datetime.now(UTC)


def join_configuration(user_data: str) -> dict[str, Any]:
    """The kubeadm configuration in the user data of a machine."""
    files = {each["path"]: each["content"] for each in yaml.safe_load(user_data)["write_files"]}
    found: dict[str, Any] = yaml.safe_load(files["/etc/oscar-node/join.yaml"])
    return found
