# SPDX-License-Identifier: Apache-2.0
"""The site as a whole: up, down, and what there is."""

from __future__ import annotations

import json
from collections.abc import Sequence

import cloud
import guests
import keys
import mirror
import network
import processes
import template
from run import SiteError
from settings import HOSTS, Host


def up(hosts: Sequence[Host]) -> None:
    """Bring up the mirror and these virtual machines. What runs already is left alone."""
    network.up()
    mirror.serve()
    mirror.fill()
    start(hosts)


def start(hosts: Sequence[Host]) -> None:
    """Start these virtual machines in a site that is up."""
    if not network.is_up():
        raise SiteError("The site is down. First: python tests/site up")
    keys.build()
    guests.power_on(hosts)


def down() -> None:
    """Stop everything, throw the virtual machines away and leave the network as it was."""
    cloud.down()
    for host in HOSTS:
        guests.remove(host)
    mirror.down()
    network.down()
    template.prune()


def rows() -> list[dict[str, object]]:
    """One row for each virtual machine and each server of the mirror."""
    machines: list[dict[str, object]] = [
        {"name": host.name, "at": host.address, "state": guests.state(host), "pid": processes.pid(host.name)}
        for host in HOSTS
    ]
    servers: list[dict[str, object]] = [
        {"name": server.name, "at": server.url, "state": server.state(), "pid": processes.pid(server.name)}
        for server in mirror.SERVERS
    ]
    return machines + servers


def as_json() -> str:
    """The rows, and whether the network is there."""
    return json.dumps({"network": network.is_up(), "parts": rows()}, indent=2)


def as_table() -> str:
    """The rows for people."""
    lines = [("NAME", "STATE", "AT", "PID")]
    lines += [(str(row["name"]), str(row["state"]), str(row["at"]), str(row["pid"] or "-")) for row in rows()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
