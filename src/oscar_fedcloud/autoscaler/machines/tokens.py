# SPDX-License-Identifier: Apache-2.0
"""Bootstrap tokens, one for each machine. They expire after the startup timeout and are deleted once it has joined.

https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/: a Secret of a fixed form in ``kube-system``.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from oscar_fedcloud.autoscaler.names import MANAGER, TOKENS, token_id
from oscar_fedcloud.kube import KubeClient, KubeError

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_GROUP = "system:bootstrappers:kubeadm:default-node-token"  # kubeadm allows it to request a kubelet's certificate


async def issue(client: KubeClient, machine: str, expires: float) -> str:
    """Create a token with which this machine can join until ``expires`` (s since the epoch). Raises KubeError.

    A former token of the machine becomes invalid.
    """
    token = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    body = _secret(machine, token, expires)
    try:
        await client.create(TOKENS, body)
    except KubeError as error:
        if error.status != 409:
            raise
        await revoke(client, machine)
        await client.create(TOKENS, body)
    return f"{token_id(machine)}.{token}"


async def revoke(client: KubeClient, machine: str) -> None:
    """Delete the machine's token, if there is one. Raises KubeError."""
    await client.delete(TOKENS, _name(machine))


def _name(machine: str) -> str:
    return f"bootstrap-token-{token_id(machine)}"


def _secret(machine: str, token: str, expires: float) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _name(machine), "labels": {"app.kubernetes.io/managed-by": MANAGER}},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "description": f"joining {machine}",
            "token-id": token_id(machine),
            "token-secret": token,
            "expiration": datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": _GROUP,
        },
    }
