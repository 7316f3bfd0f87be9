# SPDX-License-Identifier: Apache-2.0
"""Runs one virtual machine, again whenever it reboots, until it powers off.

Started by ``guests`` in a mount namespace of its own, so that its mounts are gone when it is.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import cgroups
import guests
import network
from run import run
from settings import BRIDGE, Host

REBOOT = 133  # what systemd-nspawn exits with when its guest rebooted


def main(name: str) -> int:
    [host] = guests.named([name])
    disk = host.folder
    layers = f"lowerdir={(disk / 'template').resolve()},upperdir={disk / 'upper'},workdir={disk / 'work'}"
    run("mount", "-t", "overlay", "overlay", "-o", layers, disk / "root")
    with (disk / "console.log").open("ab") as console:
        code = REBOOT
        while code == REBOOT:
            cgroups.remove(name)
            network.drop_link(name)
            enter = functools.partial(cgroups.enter, name)
            code = subprocess.Popen(machine(host), stdout=console, stderr=console, preexec_fn=enter).wait()
    return code


def machine(host: Host) -> list[str | Path]:
    """The command that boots the machine once."""
    return [
        *("env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes"),
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={host.folder / 'root'}", f"--machine={host.name}"),
        # No systemd is asked for help, since there may be none on this machine.
        *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
        f"--network-bridge={BRIDGE}",
        # All rights of root, as far as this machine has them: the guest runs containers and sets up networks itself.
        *("--capability=all", "--system-call-filter=@keyring bpf @privileged"),
        # containerd cannot keep its layers on an overlay.
        f"--bind={host.folder / 'containerd'}:/var/lib/containerd",
        *("--bind=/dev/kmsg", "--bind=/dev/fuse"),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
