# SPDX-License-Identifier: Apache-2.0
"""Life of a virtual machine, as seen from outside: create, power on, power off, forget."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import cgroups
import keys
import processes
import template
from run import SiteError, replacing, run, say, wait_until, write
from settings import CONTROLLER, HERE, HOSTS, NETWORK, Host

DISKS = ("upper", "containerd")  # what a machine writes to
POWER_OFF = signal.SIGRTMIN + 4  # to the init process of a guest: power off in good order


def named(names: Sequence[str]) -> list[Host]:
    """The hosts of these names; all but the spare ones where none is named."""
    if unknown := set(names) - {host.name for host in HOSTS}:
        known = ", ".join(host.name for host in HOSTS)
        raise SiteError(f"There is no host {', '.join(sorted(unknown))}. The hosts are: {known}")
    return [host for host in HOSTS if host.name in names or (not names and not host.spare)]


def state(host: Host) -> str:
    """``absent``, ``off``, ``starting`` or ``running``, where running means that ssh answers."""
    if processes.pid(host.name) is not None:
        return "running" if _ssh_answers(host) else "starting"
    return "off" if host.folder.exists() else "absent"


def power_on(hosts: Sequence[Host]) -> None:
    """Start these virtual machines, new where there is none, and wait until they can be reached."""
    for host in hosts:
        if processes.pid(host.name) is None:
            say(f"Starting {host.name} ({host.address}) ...")
            start(host)
    for host in hosts:
        wait_until(f"{host.name} answers to ssh", partial(_answers_or_died, host), seconds=180)


def start(host: Host, seed: Mapping[str, str] | None = None, image: Path | None = None) -> None:
    """Start a virtual machine and do not wait.

    seed: files that its cloud gives a new one for cloud-init. image: what ``save`` made, in place of the bare disk.
    """
    cgroups.remove(host.name)
    if not host.folder.exists():
        _create(host, seed or {}, image)
    processes.start(host.name, ["unshare", "--mount", sys.executable, HERE / "supervisor.py", host.name])


def power_off(host: Host, hard: bool = True) -> None:
    """Cut the power, or let the machine shut down in good order first. Its disks are kept."""
    supervisor = processes.pid(host.name)
    nspawn = supervisor and processes.child(supervisor)
    init = nspawn and processes.child(nspawn)
    if init and not hard:
        with suppress(ProcessLookupError, SiteError):
            os.kill(init, POWER_OFF)
            wait_until(f"{host.name} shuts down", lambda: processes.pid(host.name) is None, seconds=30)
    processes.stop(host.name, signal.SIGKILL)  # first, so that nothing starts the machine again
    cgroups.remove(host.name)


def remove(host: Host) -> None:
    """Cut the power and throw the disks away."""
    power_off(host)
    if host.folder.exists():
        shutil.rmtree(host.folder)


def save(host: Host, image: Path) -> None:
    """Keep the disks of a machine that is off as an image."""
    if (found := state(host)) != "off":
        raise SiteError(f"{host.name} is {found}, it must be off")
    with replacing(image) as folder:
        for name in DISKS:
            run("cp", "--archive", "--reflink=auto", host.folder / name, folder)


def _create(host: Host, seed: Mapping[str, str], image: Path | None) -> None:
    disk = host.folder.with_name(f".{host.name}.new")
    shutil.rmtree(disk, ignore_errors=True)
    for name in ("root", "work", *DISKS):
        (disk / name).mkdir(parents=True)
    if image:
        for name in DISKS:
            run("cp", "--archive", "--reflink=auto", "--no-target-directory", image / name, disk / name)
    (disk / "template").symlink_to(template.build())
    upper = disk / "upper"
    upper.chmod(0o755)
    (upper / "root/.ssh").mkdir(parents=True, mode=0o700, exist_ok=True)
    (upper / "root").chmod(0o700)
    write(upper / "root/.ssh/authorized_keys", keys.public(keys.LOGIN), mode=0o600)
    host_key = upper / "etc/ssh/ssh_host_ed25519_key"
    write(host_key, keys.host_key(host).read_text(), mode=0o600)
    write(host_key.with_suffix(".pub"), keys.public(keys.host_key(host)))
    write(upper / "etc/hostname", f"{host.name}\n")
    write(upper / "etc/hosts", f"127.0.0.1 localhost\n{host.address} {host.name}\n")
    write(upper / "etc/resolv.conf", _resolv_conf())
    address = f"{host.address}/{NETWORK.split('/')[1]}"
    write(upper / "etc/default/site-network", f"ADDRESS={address}\nGATEWAY={CONTROLLER}\n")
    for name, text in seed.items():
        write(upper / "var/lib/cloud/seed/nocloud" / name, text, mode=0o600)
    disk.rename(host.folder)


def _resolv_conf() -> str:
    """The name servers of this machine; the stub of systemd-resolved would not answer to others."""
    behind_stub = Path("/run/systemd/resolve/resolv.conf")
    return (behind_stub if behind_stub.exists() else Path("/etc/resolv.conf")).read_text()


def _answers_or_died(host: Host) -> bool:
    if processes.pid(host.name) is None:
        raise SiteError(f"{host.name} went off while it started; see {host.folder / 'console.log'}")
    return _ssh_answers(host)


def _ssh_answers(host: Host) -> bool:
    with suppress(OSError), socket.create_connection((host.address, 22), timeout=1) as connection:
        return connection.recv(4) == b"SSH-"
    return False
