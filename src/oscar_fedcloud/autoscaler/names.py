# SPDX-License-Identifier: Apache-2.0
"""What the autoscaler's objects, labels and annotations are called."""

from __future__ import annotations

import hashlib
import secrets

from oscar_fedcloud.kube import ResourceType

GROUP = "oscar.fedcloud.eu"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "OscarMachine"
PLURAL = "oscarmachines"
MANAGER = "oscar-autoscaler"  # who changed a field or reports an event, as kubectl shows it

POOL_LABEL = f"{GROUP}/pool"  # on our nodes and machines: the pool
CORDONED = f"{GROUP}/cordoned"  # annotation of a node that we cordoned, so that we never undo someone else's cordon

MACHINES = ResourceType(API_VERSION, PLURAL)
NODES = ResourceType("v1", "nodes")
PODS = ResourceType("v1", "pods")
TOKENS = ResourceType("v1", "secrets", "kube-system")

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so no words; no 0, 1 and 3, which are read as letters
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
SUFFIX = 5  # characters that make a machine's name unique
LONGEST_NAME = 63  # of a DNS label, which the name of a machine is


def machine_name(cluster: str, pool: str) -> str:
    """A new name of a machine, which is also its host name and the name of its node."""
    return f"{cluster}-{pool}-{''.join(secrets.choice(_LETTERS) for _ in range(SUFFIX))}"


def token_id(machine: str) -> str:
    """The public half of a machine's bootstrap token. It follows from the name, so no Secret is ever read."""
    number = int.from_bytes(hashlib.sha256(machine.encode()).digest()[:8])
    return "".join(_BASE36[number // 36**place % 36] for place in range(6))
