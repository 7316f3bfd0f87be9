# SPDX-License-Identifier: Apache-2.0
"""What the test site consists of: hosts, addresses and folders. Everything it writes lies below :data:`SITE`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedcloud-oscar"
BIN = CACHE / "bin"
SITE = CACHE / "site"
SSH = SITE / "ssh"
WWW = SITE / "www"
LOGS = SITE / "logs"

BRIDGE = "oscarbr"
NETWORK = "10.77.0.0/24"
CONTROLLER = "10.77.0.1"
FILES_PORT = 8081
REGISTRY_PORT = 5000
REGISTRY = f"{CONTROLLER}:{REGISTRY_PORT}"

DEBIAN = "bookworm"


@dataclass(frozen=True)
class Host:
    """A virtual machine of the site. A spare one is started only when it is named."""

    name: str
    address: str
    spare: bool = False

    @property
    def folder(self) -> Path:
        """Its disks, its console and its template."""
        return SITE / "guests" / self.name


HOSTS = (
    Host("front", "10.77.0.11"),
    Host("worker1", "10.77.0.12"),
    Host("worker2", "10.77.0.13"),
    Host("worker3", "10.77.0.14", spare=True),
    Host("worker4", "10.77.0.15", spare=True),
)
