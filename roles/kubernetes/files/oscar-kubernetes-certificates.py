# SPDX-License-Identifier: Apache-2.0
"""Renew the certificates of a kubeadm control plane that are about to expire, and restart what holds them in memory.

Usage: oscar-kubernetes-certificates [--days N]

The restart stops the containers of the static Pods one by one; the kubelet starts each again at once. Files and
manifests stay where they are, so an interruption leaves nothing half done. The authorities (ten years) are only warned
about: to renew them is a decision of the administrator.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
DAY = 86400


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def expiring(entries: list[dict], days: int) -> list[str]:
    """Names of the entries of `kubeadm certs check-expiration` that have fewer days left."""
    return [entry["name"] for entry in entries if not entry.get("missing") and entry["residualTime"] < days * DAY]


def containers(component: str) -> list[str]:
    """Ids of a static Pod's running containers."""
    tasks = {line.split()[0] for line in run("ctr", "--namespace", "k8s.io", "tasks", "list", "--quiet").splitlines()}
    named = f'labels."io.kubernetes.container.name"=={component},labels."io.cri-containerd.kind"==container'
    found = run("ctr", "--namespace", "k8s.io", "containers", "list", "--quiet", named).split()
    return [container for container in found if container in tasks]


def restart(component: str) -> None:
    """Stop a static Pod's container and wait until the kubelet has started another."""
    before = containers(component)
    for container in before:
        run("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGTERM", container)
    for _second in range(120):
        if set(containers(component)) - set(before):
            return
        time.sleep(1)
    sys.exit(f"{component} did not come back within two minutes after its certificates were renewed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Renew certificates of the control plane that are about to expire.")
    parser.add_argument("--days", type=int, default=60, help="renew what has fewer days left (default: %(default)s)")
    days = parser.parse_args().days
    state = json.loads(run("kubeadm", "certs", "check-expiration", "--output", "json"))
    for name in expiring(state.get("certificateAuthorities", []), days):
        print(f"the certificate authority {name} expires within {days} days", file=sys.stderr)
    names = expiring(state["certificates"], days)
    if not names:
        print(f"no certificate expires within {days} days")
        return
    print("renewing:", ", ".join(names))
    run("kubeadm", "certs", "renew", "all")
    for component in COMPONENTS:
        restart(component)


if __name__ == "__main__":
    main()
