# SPDX-License-Identifier: Apache-2.0
"""The real ``oscar-autoscaler`` at a real control plane, with machines that become nodes as kubelets make them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from parts.clouds import CommandPlace
from parts.kube import ROOT, KubeServer
from parts.ports import free_port
from parts.waiting import eventually

MANIFESTS = ROOT / "roles" / "autoscaler" / "files" / "kubernetes"
ACCOUNT = "system:serviceaccount:oscar:oscar-autoscaler"
NAMESPACE = "team"
MERGE = {"Content-Type": "application/merge-patch+json"}
_ENDED = ("Succeeded", "Failed")


def prepare(kube: KubeServer) -> Path:
    """What the role applies, and the kubeconfig of the service account in it."""
    kube.apply(MANIFESTS / "crd.yaml")
    kube.apply(MANIFESTS / "rbac.yaml")
    with kube.client() as client:
        client.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE}})
        account = "/api/v1/namespaces/oscar/serviceaccounts/oscar-autoscaler/token"
        answer = client.post(account, json={"spec": {"expirationSeconds": 24 * 3600}})
        answer.raise_for_status()
        eventually(lambda: client.get(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default").is_success)
    return kube.write_kubeconfig("autoscaler", {"token": answer.json()["status"]["token"]})


class Autoscaler:
    """The daemon as a process."""

    def __init__(self, folder: Path, kubeconfig: Path, place: CommandPlace, **settings: Any) -> None:
        self.folder = folder
        self.config_file = folder / "autoscaler.yml"
        self.log_file = folder / "autoscaler.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.settings: dict[str, Any] = {
            "cluster": "oscar",
            "kubeconfig": str(kubeconfig),
            "data_dir": str(folder / "data"),
            "listen": f"127.0.0.1:{self.port}",
            "clouds": {"here": place.settings()},
            "pools": [pool()],
            "join": {"server": "10.0.0.1:6443"},
            "scan_interval": 1.0,
            "cloud_interval": 1.0,
            **settings,
        }
        self.write()

    def write(self, **changes: Any) -> None:
        """Write the configuration, with changes."""
        self.settings |= changes
        self.config_file.write_text(yaml.safe_dump(self.settings), encoding="utf-8")

    def start(self, timeout: float = 30.0) -> Autoscaler:
        """Start the daemon and wait until it is ready."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self.command("run"), stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if self.get("/readyz").status_code == 200:
                    return self
            time.sleep(0.05)
        self.end(signal.SIGKILL)
        raise RuntimeError(f"the autoscaler did not become ready:\n{self.log_file.read_text()[-4000:]}")

    def command(self, *words: str) -> list[str]:
        """The command line of one of its commands."""
        return [sys.executable, "-m", "oscar_fedcloud.cli.autoscaler", *words, "--config", str(self.config_file)]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command and wait for it."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False)

    def end(self, sig: signal.Signals = signal.SIGTERM) -> int | None:
        """End the daemon; its exit code."""
        if self.process is None:
            return None
        self.process.send_signal(sig)
        code = self.process.wait(30)
        self.process = None
        return code

    def hang_up(self) -> None:
        """Have the configuration read again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def get(self, path: str) -> httpx.Response:
        """What it answers."""
        return httpx.get(f"{self.url}{path}", timeout=10, verify=False)

    def figure(self, name: str) -> float:
        """A figure of the metrics, summed over its labels."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def pool(name: str = "small", **settings: Any) -> dict[str, Any]:
    """A pool of nodes with two processors; times are short."""
    return {
        "name": name,
        "cloud": "here",
        "template": {"kind": name},
        "capacity": {"cpu": 2, "memory": "4Gi"},
        "max": 10,
        "idle": 1.0,
        "startup_timeout": 60.0,
        **settings,
    }


class Cluster:
    """The control plane as the tests use it: Jobs, Pods, nodes, machines."""

    def __init__(self, kube: KubeServer) -> None:
        self.kube = kube
        self.http = kube.client()

    def objects(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All objects of a collection, such as ``/api/v1/nodes``."""
        answer = self.http.get(path, params=query)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Nodes by name."""
        return {each["metadata"]["name"]: each for each in self.objects("/api/v1/nodes")}

    def machines(self) -> dict[str, str]:
        """Phase of each OscarMachine."""
        found = self.objects("/apis/oscar.fedcloud.eu/v1/oscarmachines")
        return {each["metadata"]["name"]: each.get("status", {}).get("phase", "asked") for each in found}

    def tokens(self) -> list[str]:
        """Names of the bootstrap tokens."""
        found = self.objects("/api/v1/namespaces/kube-system/secrets")
        return [each["metadata"]["name"] for each in found if each["type"] == "bootstrap.kubernetes.io/token"]

    def pods(self) -> list[dict[str, Any]]:
        """The Pods of our namespace."""
        return self.objects(f"/api/v1/namespaces/{NAMESPACE}/pods")

    def events(self, reason: str) -> list[dict[str, Any]]:
        """Events of one reason, on Pods of our namespace."""
        return [each for each in self.objects(f"/api/v1/namespaces/{NAMESPACE}/events") if each["reason"] == reason]

    def job(self, name: str, pods: int, cpu: str = "1", **spec: Any) -> None:
        """Start a Job of several Pods at once."""
        container = {"name": "c", "image": "example.org/c:1", "resources": {"requests": {"cpu": cpu}}}
        template = {"spec": {"restartPolicy": "Never", "containers": [container], **spec}}
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"parallelism": pods, "completions": pods, "template": template},
        }
        self.http.post(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", json=body).raise_for_status()

    def pod(self, name: str, node: str, labels: dict[str, str] | None = None, **metadata: Any) -> None:
        """A Pod that goes to a node past the scheduler."""
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "example.org/c:1"}]}
        body = {"metadata": {"name": name, "labels": labels or {}, **metadata}, "spec": spec}
        self.http.post(f"/api/v1/namespaces/{NAMESPACE}/pods", json=body).raise_for_status()

    def end_pods(self) -> None:
        """All Pods that have a node come to their end, once their kubelet has them running."""
        placed = set(self.placed())

        def running() -> bool:
            phases = {each["metadata"]["name"]: each["status"]["phase"] for each in self.pods()}
            return all(phases.get(name) != "Pending" for name in placed)

        eventually(running, 30)
        for name in placed:
            self.say(name, "Succeeded")

    def say(self, pod: str, phase: str) -> None:
        """Set the phase of a Pod, as its kubelet would."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/status"
        self.http.patch(path, json={"status": {"phase": phase}}, headers=MERGE)

    def placed(self) -> dict[str, str]:
        """Pods that have a node and have not ended -> their node."""
        return {
            each["metadata"]["name"]: each["spec"]["nodeName"]
            for each in self.pods()
            if each["spec"].get("nodeName") and each["status"]["phase"] not in _ENDED
        }

    def clear(self) -> None:
        """Take everything away that a test may have left."""
        for path in (
            f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
            f"/api/v1/namespaces/{NAMESPACE}/pods",
            "/apis/oscar.fedcloud.eu/v1/oscarmachines",
            "/api/v1/nodes",
            "/api/v1/namespaces/oscar/configmaps",
        ):
            options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
            self.http.request("DELETE", path, json=options)
        self.http.delete("/apis/coordination.k8s.io/v1/namespaces/oscar/leases/oscar-autoscaler")
        for token in self.tokens():
            self.http.delete(f"/api/v1/namespaces/kube-system/secrets/{token}")
        eventually(lambda: not self.pods(), 30)


def empty(cluster: Cluster, place: CommandPlace) -> bool:
    """Nothing is left, by the cloud's own list first of all."""
    return not place.names() and not cluster.machines() and not cluster.nodes() and not cluster.tokens()
