# SPDX-License-Identifier: Apache-2.0
"""ssh keys, made once: one to log in with and one for each virtual machine, and the configuration that names them."""

from __future__ import annotations

from pathlib import Path

from run import run, write
from settings import HOSTS, SSH, Host

LOGIN = SSH / "id_ed25519"
KNOWN_HOSTS = SSH / "known_hosts"
CONFIG = SSH / "config"


def build() -> None:
    """Make what is missing."""
    for key in (LOGIN, *map(host_key, HOSTS)):
        if not key.with_suffix(".pub").exists():
            key.unlink(missing_ok=True)
            key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"test site {key.name}", "-f", key)
    write(KNOWN_HOSTS, "".join(f"{host.name},{host.address} {public(host_key(host))}" for host in HOSTS))
    write(CONFIG, "".join(map(_section, HOSTS)))


def host_key(host: Host) -> Path:
    """The private host key of a virtual machine."""
    return SSH / f"host_{host.name}"


def public(key: Path) -> str:
    """The public half, one line."""
    return key.with_suffix(".pub").read_text()


def _section(host: Host) -> str:
    options = {
        "HostName": host.address,
        "User": "root",
        "IdentityFile": LOGIN,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": KNOWN_HOSTS,
        "StrictHostKeyChecking": "yes",
    }
    return f"Host {host.name} {host.address}\n" + "".join(f"  {name} {value}\n" for name, value in options.items())
