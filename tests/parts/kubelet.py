# SPDX-License-Identifier: Apache-2.0
"""What a test does in place of scheduler and kubelet: it says how Pods stand."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from parts.daemon import rclone_binary
from parts.kube import NAMESPACE, KubeServer
from parts.site import Site, make_site
from parts.waiting import eventually

_MERGE = {"Content-Type": "application/merge-patch+json"}


@dataclass(frozen=True)
class Kubelet:
    """Works on one namespace of a control plane without nodes."""

    kube: KubeServer
    http: httpx.Client

    def objects(self, plural: str, **query: str) -> list[dict[str, Any]]:
        """All objects of a kind, e.g. ``jobs`` or ``configmaps``."""
        root = "/apis/batch/v1" if plural == "jobs" else "/api/v1"
        answer = self.http.get(f"{root}/namespaces/{NAMESPACE}/{plural}", params=query)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    def jobs(self, service: str = "", count: int = 1) -> list[dict[str, Any]]:
        """The service's Jobs, as soon as there are so many."""
        selector = f"oscar.fedcloud.eu/service={service}" if service else "oscar.fedcloud.eu/service"

        def there() -> list[dict[str, Any]] | None:
            found = self.objects("jobs", labelSelector=selector)
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = eventually(there, 60)
        return found

    def pod(self, job: str) -> dict[str, Any]:
        """The Pod of a Job, as soon as it is there."""
        selector = f"batch.kubernetes.io/job-name={job}"
        found: dict[str, Any] = eventually(lambda: (self.objects("pods", labelSelector=selector) or [None])[0], 60)
        return found

    def place(self, job: str, node: str = "node-1") -> None:
        """Give the Job's Pod to a node."""
        name = self.pod(job)["metadata"]["name"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self.http.post(f"{self._path('pods', name)}/binding", json=binding).raise_for_status()

    def say(self, job: str, **status: Any) -> None:
        """Set the status of the Job's Pod."""
        name = self.pod(job)["metadata"]["name"]
        path = f"{self._path('pods', name)}/status"
        self.http.patch(path, json={"status": status}, headers=_MERGE).raise_for_status()

    def run(self, job: str) -> None:
        """The Pod's container runs."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.say(job, phase="Running", startTime=now, containerStatuses=[container({"running": {"startedAt": now}})])

    def end(
        self, job: str, code: int = 0, message: str = "", reason: str = "", status: dict[str, Any] | None = None
    ) -> None:
        """The Pod's container ends. message: what the runner wrote; made up for code 0. status: more of the Pod."""
        told = message or ("phase=done\nexit=0\nreason=done\n" if code == 0 else "")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": told}
        state = {"terminated": {**ended, "startedAt": now, "finishedAt": now}}
        phase = "Failed" if code else "Succeeded"
        self.say(job, **{"phase": phase, "containerStatuses": [container(state)], **(status or {})})

    def execute(self, job: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
        """Run the Job's runner here, on the files that its Pod would mount, and say how it ended."""
        pod = self.pod(job)
        (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "job"]
        (container_spec,) = pod["spec"]["containers"]
        files = self._mounted(pod, volume["projected"]["sources"])
        here = {"OSCAR_RCLONE": rclone_binary(), "TMPDIR": str(folder), "OSCAR_RESULT": str(folder / "result")}
        here |= {"OSCAR_SCRIPT": str(folder / "script"), "OSCAR_CA_BUNDLE": ""}
        files["here"] = "".join(f"{name}={value}\n" for name, value in here.items()).encode()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        assert container_spec["command"] == ["/bin/sh", "/oscar/job/runner.sh"]
        names = [Path(argument).name for argument in container_spec["args"]]
        command = ["/bin/sh", str(folder / "runner.sh"), *(str(folder / name) for name in (*names, "here"))]
        done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, cwd=folder, capture_output=True, check=False)
        self.end(job, done.returncode, (folder / "result").read_text())
        return done

    def _mounted(self, pod: dict[str, Any], sources: list[dict[str, Any]]) -> dict[str, bytes]:
        """The files of a projected volume."""
        config, secret, event = sources
        objects = self.http.get(self._path("configmaps", config["configMap"]["name"])).json()
        files = {name: text.encode() for name, text in objects["data"].items()}
        files |= {name: base64.b64decode(data) for name, data in objects.get("binaryData", {}).items()}
        secrets = self.http.get(self._path("secrets", secret["secret"]["name"])).json()["data"]
        files |= {name: base64.b64decode(data) for name, data in secrets.items()}
        (item,) = event["downwardAPI"]["items"]
        annotation = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
        return files | {item["path"]: pod["metadata"]["annotations"][annotation].encode()}

    def wait_for(self, job: str, reason: str, message: str) -> None:
        """The Pod's container cannot start, for this reason."""
        state = {"waiting": {"reason": reason, "message": message}}
        self.say(job, phase="Pending", containerStatuses=[container(state)])

    def delete(self, plural: str, name: str, grace: int = 0) -> None:
        """Delete an object and what hangs on it."""
        options = {"propagationPolicy": "Background", "gracePeriodSeconds": grace}
        self.http.request("DELETE", self._path(plural, name), json=options).raise_for_status()

    def _path(self, plural: str, name: str) -> str:
        root = "/apis/batch/v1" if plural == "jobs" else "/api/v1"
        return f"{root}/namespaces/{NAMESPACE}/{plural}/{name}"


def container(state: dict[str, Any]) -> dict[str, Any]:
    """The status of the main container."""
    fixed = {"name": "oscar-container", "image": "example.org/tool:1", "imageID": "", "ready": False, "restartCount": 0}
    return {**fixed, "state": state}


@dataclass(frozen=True)
class ClusterSite(Site):
    """A site whose Jobs go to a cluster."""

    kubelet: Kubelet


@contextlib.contextmanager
def cluster_site(
    folder: Path, kube: KubeServer, launcher: dict[str, Any] | None = None, **settings: Any
) -> Iterator[ClusterSite]:
    """MinIO and the invoker in front of a running control plane; the invoker has the rights of its service account."""
    config = {"type": "kubernetes", "kubeconfig": str(kube.invoker_kubeconfig()), "tools": "image", **(launcher or {})}
    site = make_site(folder, launcher=config, **settings)
    with kube.client() as http, site.minio, site.daemon:
        yield ClusterSite(site.minio, site.daemon, Kubelet(kube, http))


def told(phase: str, code: int, reason: str) -> str:
    """What the runner writes of its end."""
    return f"phase={phase}\nexit={code}\nreason={reason}\n"


def upload(site: Site, bucket: str, key: str, body: bytes = b"content") -> None:
    """Put a file into the store."""
    site.minio.client().put_object(bucket, key, io.BytesIO(body), len(body))
