# SPDX-License-Identifier: Apache-2.0
"""Names of the autoscaler's objects, labels and annotations."""

from __future__ import annotations

import hashlib
import secrets

from oscar_fedcloud.kube import ResourceType

GROUP = "oscar.fedcloud.eu"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "OscarMachine"
PLURAL = "oscarmachines"
MANAGER = "oscar-autoscaler"  # field manager and event source, as kubectl shows it

POOL_LABEL = f"{GROUP}/pool"  # label of nodes and machines
CORDONED = f"{GROUP}/cordoned"  # annotation of nodes that the autoscaler cordoned; it never uncordons others

MACHINES = ResourceType(API_VERSION, PLURAL)
NODES = ResourceType("v1", "nodes")
PODS = ResourceType("v1", "pods")
TOKENS = ResourceType("v1", "secrets", "kube-system")

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, which could form words; no 0, 1 and 3, which resemble letters
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
SUFFIX = 5  # characters that make a machine's name unique
LONGEST_NAME = 63  # of a DNS label, which the name of a machine is


def machine_name(cluster: str, pool: str) -> str:
    """Return a new machine name, which is also its host name and the name of its node."""
    return f"{cluster}-{pool}-{''.join(secrets.choice(_LETTERS) for _ in range(SUFFIX))}"


def token_id(machine: str) -> str:
    """Return the id of a machine's bootstrap token. It is derived from the name, so no Secret has to be read."""
    number = int.from_bytes(hashlib.sha256(machine.encode()).digest()[:8])
    return "".join(_BASE36[number // 36**place % 36] for place in range(6))
