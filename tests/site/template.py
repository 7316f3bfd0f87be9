# SPDX-License-Identifier: Apache-2.0
"""The disk that every virtual machine starts from: a bare Debian with ssh and Python, as clouds offer it."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import debian
from run import fingerprint, replacing, run, say
from settings import HERE, SITE

TEMPLATES = SITE / "templates"
FILES = HERE / "guest"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt"),
    *("ca-certificates", "iproute2", "iputils-ping", "kmod", "netbase", "procps", "sudo"),
    "cloud-init",  # rests unless the machine's cloud gives it something to do
)


def path() -> Path:
    """Where the template of this recipe lies, whether or not it is made."""
    return TEMPLATES / fingerprint(FILES, inspect.getsource(_configure), *PACKAGES)


def build() -> Path:
    """Make the template unless it is there."""
    template = path()
    if not template.exists():
        say("Making the disk of the virtual machines (once, about a minute) ...")
        with replacing(template) as disk:
            debian.bootstrap(disk, PACKAGES)
            _configure(disk)
    return template


def prune() -> None:
    """Remove templates of other recipes. No virtual machine may use them any more."""
    for template in TEMPLATES.glob("*"):
        if template != path():
            shutil.rmtree(template)


def _configure(disk: Path) -> None:
    for unit in FILES.glob("*.service"):
        shutil.copy(unit, disk / "etc/systemd/system")
        run("systemctl", f"--root={disk}", "enable", unit.name)
    shutil.copy(FILES / "site-mounts", disk / "usr/local/sbin")
    shutil.copy(FILES / "cloud.cfg", disk / "etc/cloud/cloud.cfg.d/99_site.cfg")
    # Every machine makes its own identity and gets its own host key.
    (disk / "etc/machine-id").write_text("")
    for key in (disk / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
