# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes control plane without nodes: etcd, kube-apiserver, kube-controller-manager, on loopback.

What a kubelet would do, the tests do, by writing the status of Pods.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import httpx
import yaml
from parts.pki import Authority
from parts.ports import free_port

ROOT = Path(__file__).parents[2]
RBAC = ROOT / "roles" / "invoker" / "files" / "kubernetes" / "rbac.yaml"
NAMESPACE = "oscar-services"
_CONTROLLERS = (
    "job-controller,namespace-controller,serviceaccount-controller,garbage-collector-controller,"
    "ttl-after-finished-controller"
)
# For many Jobs; about what the role sets.
_FLAGS = {
    "kube-controller-manager": ("--kube-api-qps=300", "--kube-api-burst=500", "--concurrent-job-syncs=20"),
    "kube-scheduler": ("--kube-api-qps=300", "--kube-api-burst=500"),
}
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def kube_binary(name: str) -> Path:
    """A server that ``make parts`` built: in $OSCAR_TEST_KUBE, else in the cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = Path(os.environ.get("OSCAR_TEST_KUBE") or cache / "fedcloud-oscar" / "bin") / name
    if not path.is_file():
        raise FileNotFoundError(f"{name} not found at {path}: run make parts, or set OSCAR_TEST_KUBE to its folder")
    return path


class KubeServer:
    """One control plane. The API server may be stopped and started again and again; data and address stay.

    audit: keep a log of each request (``requests``), which costs the API server time. flags: of the controllers and
    the scheduler, in place of those for many Jobs.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        audit: bool = True,
        scheduler: bool = False,
        flags: Mapping[str, Sequence[str]] = _FLAGS,
    ) -> None:
        self._own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix="oscar-kube-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.audit = audit
        self.scheduler = scheduler
        self.flags = flags
        self.port, self._etcd_port = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._make_files()

    # -- files -----------------------------------------------------------------------------------------------------

    def _make_files(self) -> None:
        self.pki = Authority(self.folder / "pki")
        self.pki.issue("server", "kube-apiserver")
        self.pki.issue("service-accounts", "service-accounts")
        for file, name, organisation in (
            ("admin", "admin", "system:masters"),
            ("controllers", "system:kube-controller-manager", "system:masters"),
            ("scheduler", "system:kube-scheduler", ""),
        ):
            certificate, key = self.pki.issue(file, name, organisation)
            self.write_kubeconfig(file, {"client-certificate": str(certificate), "client-key": str(key)})
        self.kubeconfig = self.folder / "admin.conf"
        (self.folder / "audit.yaml").write_text(yaml.safe_dump(_AUDIT), encoding="utf-8")

    def write_kubeconfig(self, name: str, user: dict[str, str]) -> Path:
        """A kubeconfig ``<name>.conf`` for a user with this proof of identity."""
        path = self.folder / f"{name}.conf"
        cluster = {"server": self.url, "certificate-authority": str(self.pki.certificate)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    # -- processes -------------------------------------------------------------------------------------------------

    def start(self, timeout: float = 90.0) -> KubeServer:
        """Start everything and wait until the API serves."""
        try:
            self._run("etcd", self._etcd())
            self.start_api(timeout)
        except BaseException:
            self.close()
            raise
        return self

    def start_api(self, timeout: float = 90.0) -> None:
        """Start the API server, and anew what watches it.

        After an outage those would wait up to 30 s before they watch again, and meanwhile place Pods on nodes that are
        gone. In a real cluster they lose their lease, end, and are started again.
        """
        self._serve(timeout)
        self._end("kube-controller-manager", signal.SIGKILL)
        self._run("kube-controller-manager", self._controllers())
        if self.scheduler:
            self._end("kube-scheduler", signal.SIGKILL)
            self._run("kube-scheduler", self._scheduler())

    def _serve(self, timeout: float) -> None:
        self._run("kube-apiserver", self._api())
        deadline = time.monotonic() + timeout
        with self.client() as client:
            while time.monotonic() < deadline and self._processes["kube-apiserver"].poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/readyz").status_code == 200:
                        return
                time.sleep(0.1)
        log = (self.folder / "kube-apiserver.log").read_text(errors="replace")
        raise RuntimeError(f"the API server did not become ready:\n{log[-4000:]}")

    def stop_api(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End the API server alone."""
        self._end("kube-apiserver", sig)

    def close(self) -> None:
        """End everything, and remove the data if the folder is our own."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            self._end(name, signal.SIGKILL)
        for log in self._logs:
            log.close()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> KubeServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, name: str, arguments: list[str]) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self._logs.append(log)
        self._processes[name] = subprocess.Popen([str(kube_binary(name)), *arguments], stdout=log, stderr=log)

    def _end(self, name: str, sig: signal.Signals) -> None:
        if process := self._processes.pop(name, None):
            process.send_signal(sig)
            process.wait(30)

    def pid(self, name: str) -> int:
        """The process of a server."""
        return self._processes[name].pid

    def _etcd(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--quota-backend-bytes=8589934592",  # for tens of thousands of Pods
        ]

    def _api(self) -> list[str]:
        pki = self.pki.folder
        audit = [
            f"--audit-policy-file={self.folder / 'audit.yaml'}",
            f"--audit-log-path={self.folder / 'audit.log'}",
        ]
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            f"--client-ca-file={self.pki.certificate}",
            f"--tls-cert-file={pki / 'server.crt'}",
            f"--tls-private-key-file={pki / 'server.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'service-accounts.crt'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            *(audit if self.audit else []),
        ]

    def _controllers(self) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'controllers.conf'}",
            f"--controllers={_CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={self.pki.folder / 'service-accounts.key'}",
            f"--root-ca-file={self.pki.certificate}",
            *self.flags["kube-controller-manager"],
        ]

    def _scheduler(self) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'scheduler.conf'}",
            "--leader-elect=false",
            "--secure-port=0",
            *self.flags["kube-scheduler"],
        ]

    # -- use -------------------------------------------------------------------------------------------------------

    def client(self) -> httpx.Client:
        """An HTTP client that may do anything."""
        context = ssl.create_default_context(cafile=self.pki.certificate)
        context.load_cert_chain(self.pki.folder / "admin.crt", self.pki.folder / "admin.key")
        return httpx.Client(base_url=self.url, verify=context, timeout=30, trust_env=False)

    def apply(self, path: Path) -> None:
        """What ``kubectl apply`` does with a file of manifests."""
        command = [str(kube_binary("kubectl")), f"--kubeconfig={self.kubeconfig}", "apply", "--filename", str(path)]
        subprocess.run(command, check=True, capture_output=True)

    def invoker_kubeconfig(self) -> Path:
        """The manifests of the invoker's role, and a kubeconfig of the service account in them."""
        self.apply(RBAC)
        with self.client() as client:
            account = "/api/v1/namespaces/oscar/serviceaccounts/oscar-invoker/token"
            answer = client.post(account, json={"spec": {"expirationSeconds": 24 * 3600}})
            answer.raise_for_status()
        return self.write_kubeconfig("invoker", {"token": answer.json()["status"]["token"]})

    def requests(self, user: str = "system:serviceaccount:oscar:oscar-invoker") -> list[dict[str, Any]]:
        """The audit log's records of a user's finished requests, oldest first."""
        lines = (self.folder / "audit.log").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.endswith("}")]
        return [record for record in records if record["user"].get("username") == user]
