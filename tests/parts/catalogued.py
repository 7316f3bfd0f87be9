# SPDX-License-Identifier: Apache-2.0
"""What people do with services that are Kubernetes objects: by kubectl, and by the API."""

from __future__ import annotations

import base64
import subprocess
from io import BytesIO
from typing import Any

import yaml
from parts import waiting
from parts.daemon import Daemon
from parts.kube import NAMESPACE, KubeServer, kube_binary
from parts.site import Site, file_service

PATH = f"/apis/oscar.fedcloud.eu/v1/namespaces/{NAMESPACE}/oscarservices"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
LONG = 120  # s; a whole control plane shares the machine with the invoker
COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR"'


def eventually(probe: Any) -> Any:
    return waiting.eventually(probe, LONG)


class Kubectl:
    """What a person does with kubectl, and plain requests where the whole answer matters."""

    def __init__(self, kube: KubeServer) -> None:
        self.kube = kube
        self.http = kube.client()

    def __call__(self, *arguments: str, document: dict[str, Any] | None = None, check: bool = True) -> str:
        command = [str(kube_binary("kubectl")), f"--kubeconfig={self.kube.kubeconfig}", f"--namespace={NAMESPACE}"]
        done = subprocess.run(
            [*command, *arguments], input=yaml.safe_dump(document), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stdout + done.stderr

    def apply(self, name: str, **spec: Any) -> str:
        return self("apply", "--filename=-", document=manifest(name, **spec))

    def get(self, name: str) -> dict[str, Any]:
        answer = self.http.get(f"{PATH}/{name}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def secret(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{SECRETS}/{name}.catalogue").raise_for_status().json()
        return found

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        found = {one["type"]: one for one in self.get(name).get("status", {}).get("conditions", ())}
        return found.get(kind, {})

    def wait(self, name: str, condition: str) -> None:
        self("wait", f"--for=condition={condition}", f"oscarservice/{name}", f"--timeout={LONG}s")


def manifest(name: str, **spec: Any) -> dict[str, Any]:
    document = {**file_service(name, COPY), **spec}
    del document["name"]
    return {
        "apiVersion": "oscar.fedcloud.eu/v1",
        "kind": "OscarService",
        "metadata": {"name": name},
        "spec": document,
    }


def show(daemon: Daemon, name: str) -> dict[str, Any] | None:
    with daemon.client() as client:
        answer = client.get(f"/v2/services/{name}")
        return answer.json() if answer.status_code == 200 else None


def revision(daemon: Daemon, name: str) -> str:
    found = show(daemon, name)
    return found["revision"] if found else ""


def upload(site: Site, bucket: str, key: str, body: bytes = b"x") -> None:
    site.minio.client().put_object(bucket, key, BytesIO(body), len(body))


def decoded(secret: dict[str, Any]) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
