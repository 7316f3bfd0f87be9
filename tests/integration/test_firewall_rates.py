# SPDX-License-Identifier: Apache-2.0
"""The firewall's limit of new connections, between machines that are network namespaces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.ansible_run import ROOT, Ansible
from parts.netns import ADDRESSES, Net, running_net

PORT = 443
MANY = 30  # more than the burst
SERVE = f"""
import socket
server = socket.create_server(("", {PORT}), backlog=100)
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""
CONNECT = f"""
import socket, sys
opened = 0
for _ in range({MANY}):
    try:
        socket.create_connection((sys.argv[1], {PORT}), timeout=1).close()
    except TimeoutError:
        break
    opened += 1
print(opened)
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """``one`` serves users."""
    with running_net() as made:
        command = made.command("one", sys.executable, "-c", SERVE)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            server.stdout.readline()
            yield made
            server.terminate()


def load(net: Net, folder: Path, **variables: Any) -> None:
    """Load the table of a front end into ``one``."""
    role = ROOT / "roles" / "firewall"
    known = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))
    known |= {"ansible_facts": {}, "firewall_components": ["ingress"], "firewall_cluster_networks": [], **variables}
    done = Ansible("newest", folder / "ansible").play(
        [
            {"ansible.builtin.include_vars": str(role / "vars/main.yml")},
            {
                "ansible.builtin.template": {
                    "src": str(role / "templates/firewall.nft.j2"),
                    "dest": str(folder / "made"),
                }
            },
        ],
        vars=known,
    )
    assert done.code == 0, done.output
    net.run("one", "nft", "--file", folder / "made")


def opened(net: Net, place: str) -> int:
    """Return how many of many connections a place opened before one was not let in."""
    return int(net.run(place, sys.executable, "-c", CONNECT, ADDRESSES["one"]))


def test_an_address_that_opens_too_many_connections_is_slowed_down_and_no_other(net: Net, tmp_path: Path) -> None:
    load(net, tmp_path, firewall_public_rate=1, firewall_public_burst=5)
    assert 5 <= opened(net, "outside") < MANY
    assert opened(net, "two") >= 5
    assert net.run("one", "nft", "list", "set", "inet", "oscar", "clients4").count("10.77.0.") == 2


def test_the_hosts_of_the_site_have_no_limit(net: Net, tmp_path: Path) -> None:
    load(net, tmp_path, firewall_public_rate=1, firewall_public_burst=5, firewall_cluster_networks=["10.77.0.0/25"])
    assert opened(net, "two") == MANY
    assert opened(net, "outside") < MANY


def test_the_limit_can_be_turned_off(net: Net, tmp_path: Path) -> None:
    load(net, tmp_path, firewall_public_rate=0)
    assert opened(net, "outside") == MANY
