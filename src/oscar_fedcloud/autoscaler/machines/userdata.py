# SPDX-License-Identifier: Apache-2.0
"""The cloud-init user data that turns a new machine into a node.

It includes the files that the role ``kubernetes`` writes on a worker (``join.files``). kubeadm fetches the kubelet's
settings from the cluster. An image that already holds the packages only runs ``kubeadm join``: its ``oscar-join.path``
starts that as soon as cloud-init has written the last file, long before cloud-init runs commands.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from oscar_fedcloud.autoscaler.clouds.protocol import provider_id
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig, JoinConfig, PoolConfig
from oscar_fedcloud.autoscaler.names import POOL_LABEL
from oscar_fedcloud.config import ConfigError

FOLDER = "/etc/oscar-node"
JOIN_FILE = f"{FOLDER}/join.yaml"
_SCRIPT_FILE = f"{FOLDER}/join.sh"
_UNIT_FILE = "/etc/systemd/system/oscar-join.service"


@dataclass(frozen=True, slots=True)
class JoinTarget:
    """How machines find the cluster."""

    name: str
    server: str  # HOST:PORT
    ca_hashes: tuple[str, ...]  # ``sha256:…`` of the public keys of its certificate authorities


async def find_cluster(config: AutoscalerConfig) -> JoinTarget:
    """Return the cluster from the configuration, with defaults from the kubeconfig. Raises ConfigError."""
    join = config.join
    server, hashes = join.server, join.ca_hashes
    if not server or not hashes:
        from oscar_fedcloud.kube.access import load_access

        access = await load_access(config.kubeconfig, "")
        server = server or server_of(access.host or "")
        hashes = hashes or await asyncio.to_thread(ca_hashes, str(access.ssl_ca_cert or ""))
    return JoinTarget(config.cluster, server, hashes)


def server_of(url: str) -> str:
    """Return HOST:PORT of the API server's URL. Raises ConfigError if machines cannot reach it."""
    parts = urlsplit(url)
    if not parts.hostname or parts.hostname in ("localhost", "127.0.0.1", "::1"):
        raise ConfigError(
            f"join.server is not given, and the kubeconfig's server is {url!r}, which no machine can reach: "
            "give join.server as HOST:PORT, such as 10.0.0.10:6443"
        )
    return f"{parts.hostname}:{parts.port or 443}"


def ca_hashes(path: str) -> tuple[str, ...]:
    """Return the hashes of the public keys in a file of certificates, in kubeadm's form. Raises ConfigError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        with open(path, "rb") as file:
            certificates = x509.load_pem_x509_certificates(file.read())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the CA certificate of the kubeconfig ({path or 'none'}) cannot be read: {error}") from error
    keys = (each.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for each in certificates)
    return tuple(f"sha256:{hashlib.sha256(key).hexdigest()}" for key in keys)


def user_data(cluster: JoinTarget, join: JoinConfig, pool: PoolConfig, machine: str, token: str) -> str:
    """Return the ``#cloud-config`` document of one machine. It holds the token: never log it."""
    packages = join.packages if pool.packages is None else pool.packages
    files = {**join.files, **pool.files} if packages else dict(pool.files)
    files[_UNIT_FILE] = _UNIT
    files[_SCRIPT_FILE] = _script(join.commands, packages)
    files[JOIN_FILE] = join_configuration(cluster, join, pool, machine, token)  # must be last: it starts the join
    document = {
        "hostname": machine,
        "preserve_hostname": False,
        "manage_etc_hosts": True,
        "write_files": [{"path": path, "content": text, "permissions": _mode(path)} for path, text in files.items()],
        "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "start", "oscar-join.service"]],
    }
    return "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False, width=1000)


def join_configuration(cluster: JoinTarget, join: JoinConfig, pool: PoolConfig, machine: str, token: str) -> str:
    """Return the file for ``kubeadm join --config``."""
    arguments = dict(join.kubelet_args)
    if join.provider_id:
        arguments["provider-id"] = provider_id(cluster.name, machine)
    arguments["node-labels"] = ",".join(f"{name}={value}" for name, value in node_labels(pool).items())
    document = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": cluster.server,
                "token": token,
                "caCertHashes": list(cluster.ca_hashes),
            }
        },
        "nodeRegistration": {
            "name": machine,
            "criSocket": join.cri_socket,
            "imagePullSerial": False,
            "ignorePreflightErrors": list(join.ignore_preflight_errors),
            "kubeletExtraArgs": [{"name": name, "value": value} for name, value in arguments.items()],
            "taints": [{"key": each.key, "value": each.value, "effect": each.effect} for each in pool.taints],
        },
    }
    return yaml.safe_dump(document, sort_keys=False, width=1000)


def node_labels(pool: PoolConfig) -> Mapping[str, str]:
    """Return the labels of the nodes of a pool."""
    return {POOL_LABEL: pool.name, **pool.labels}


def _mode(path: str) -> str:
    return "0600" if path.startswith(f"{FOLDER}/") else "0644"


# kubeadm leaves kubelet.conf behind when it has finished. An interrupted join is reset and repeated.
_UNIT = f"""\
# SPDX-License-Identifier: Apache-2.0
[Unit]
Description=Join the Kubernetes cluster
Wants=network-online.target
After=network-online.target containerd.service
ConditionPathExists=!{FOLDER}/joined

[Service]
Type=oneshot
ExecStart=/bin/sh {_SCRIPT_FILE}
Restart=on-failure
RestartSec=5
"""


def _script(commands: Sequence[str], packages: Sequence[str]) -> str:
    lines = ["#!/bin/sh", "# Makes this machine a node. Done once; a run that failed is repeated.", "set -eu"]
    if packages:
        lines += [*_PREPARE, f"install {' '.join(map(shlex.quote, packages))}"]
    lines += commands
    lines += [
        "if [ -e /etc/kubernetes/kubelet.conf ] || [ -e /etc/kubernetes/bootstrap-kubelet.conf ]; then",
        "    kubeadm reset --force",
        "fi",
        f"kubeadm join --config {JOIN_FILE}",
        f"rm -f {JOIN_FILE}",
        f"touch {FOLDER}/joined",
    ]
    return "\n".join(lines) + "\n"


_PREPARE = (
    "install() {",
    "    apt-get update",
    "    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \\",
    '        --allow-downgrades --option Dpkg::Options::=--force-confold "$@"',
    "}",
    "if [ -e /etc/modules-load.d/90-oscar-kubernetes.conf ]; then",
    "    systemctl restart systemd-modules-load.service || true",
    "fi",
    "sysctl --quiet --system || true",
    "swapoff --all || true",
)


def shown(document: str) -> dict[str, Any]:
    """Return the user data without the join configuration, which holds the token, for display."""
    data: dict[str, Any] = yaml.safe_load(document)
    data["write_files"] = [each for each in data["write_files"] if each["path"] != JOIN_FILE]
    return data
