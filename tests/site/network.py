# SPDX-License-Identifier: Apache-2.0
"""The bridge between the virtual machines and this one, and their way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from run import run, write
from settings import BRIDGE, CONTROLLER, NETWORK, SITE

TABLE = "oscar_site"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
BEFORE = SITE / "run" / "ip_forward"
# Declaring the table first makes deleting it possible where there is none: one transaction, the same the second time.
RULES = f"""\
table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr {NETWORK} ip daddr != {NETWORK} masquerade
  }}
}}
"""


def up() -> None:
    """Make the bridge, and let the network of the site reach package mirrors."""
    if not is_up():
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{CONTROLLER}/{NETWORK.split('/')[1]}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    if not BEFORE.exists():
        write(BEFORE, FORWARD.read_text())
    FORWARD.write_text("1")
    run("nft", "-f", "-", stdin=RULES)


def down() -> None:
    """Remove all of it."""
    for command in (["nft", "delete", "table", "ip", TABLE], ["ip", "link", "delete", BRIDGE]):
        subprocess.run(command, capture_output=True, check=False)  # one that is not there is what is wanted
    if BEFORE.exists():
        FORWARD.write_text(BEFORE.read_text())
        BEFORE.unlink()


def drop_link(machine: str) -> None:
    """Remove the link of a machine that was killed; the kernel takes a moment to do so by itself."""
    subprocess.run(["ip", "link", "delete", f"vb-{machine}"], capture_output=True, check=False)


def is_up() -> bool:
    """Whether the bridge is there."""
    return Path("/sys/class/net", BRIDGE).exists()
