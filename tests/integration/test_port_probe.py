# SPDX-License-Identifier: Apache-2.0
"""port_probe on real sockets of this machine's loopback."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fedcloud.oscar.plugins.module_utils._ports.capture import Capture
from ansible_collections.fedcloud.oscar.plugins.module_utils._ports.connect import probe
from ansible_collections.fedcloud.oscar.plugins.module_utils._ports.listener import start, stop
from ansible_collections.fedcloud.oscar.plugins.module_utils._ports.ports import Port, PortError, control_name
from parts.ansible_run import Ansible

LOOPBACK = {"four": "127.0.0.1", "six": "::1"}
root = pytest.mark.skipif(os.geteuid() != 0, reason="packet sockets and other users need root")


def free_ports(count: int) -> list[Port]:
    """Ports that are free for TCP and UDP."""
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    numbers = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return [Port(number) for number in numbers]


@pytest.fixture
def token() -> Iterator[str]:
    """A token whose listeners are stopped at the end."""
    made = secrets.token_hex(16)
    yield made
    stop(made)


def is_running(token: str) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as client:
        return client.connect_ex(control_name(token)) == 0


def try_one(port: Port, token: str, timeout: float = 5) -> dict[str, Any]:
    found: dict[str, Any] = probe({"here": "127.0.0.1"}, [port], token, timeout)["here"][str(port)]
    return found


def test_a_listener_answers_with_the_token_only(token: str) -> None:
    (port,) = free_ports(1)
    ports = [port, Port(port.number, "udp")]
    assert {one["listener"] for one in start(ports, token, 60)["ports"].values()} == {"ours"}
    found = probe(LOOPBACK, ports, token, 5)
    answers = {(name, port): (one["state"], one["answer"]) for name in LOOPBACK for port, one in found[name].items()}
    assert answers == {(name, str(port)): ("open", "ours") for name in LOOPBACK for port in ports}
    assert try_one(port, "another")["answer"] == "other"
    report = stop(token)
    assert report is not None
    assert set(report["ports"]) == {str(port) for port in ports}
    assert stop(token) is None
    assert (try_one(port, token)["state"], try_one(ports[1], token)["state"]) == ("refused", "refused")


def test_an_echo_is_not_our_listener(token: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = Port(server.getsockname()[1])
        start([port], token, 60)
        pid = os.fork()
        if pid == 0:
            connection, _address = server.accept()
            connection.sendall(connection.recv(100))
            os._exit(0)
        assert try_one(port, token)["answer"] == "other"
        os.waitpid(pid, 0)


def test_who_holds_a_port(token: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as local, socket.create_server(("", 0)) as everywhere:
        ports = [Port(one.getsockname()[1]) for one in (local, everywhere)]
        found = start(ports, token, 60)["ports"]
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert [(one["listener"], one["process"], one["local_only"]) for one in found.values()] == [
        ("other", name, True),
        ("other", name, False),
    ]


def test_silent_clients_do_not_keep_others_waiting(token: str) -> None:
    (port,) = free_ports(1)
    start([port], token, 60)
    silent = [socket.create_connection(("127.0.0.1", port.number)) for _ in range(300)]
    for client in silent:
        client.close()
    lingering = [socket.create_connection(("127.0.0.1", port.number)) for _ in range(50)]
    assert try_one(port, token)["answer"] == "ours"
    for client in lingering:
        client.close()


def test_listeners_end_by_themselves(token: str) -> None:
    start(free_ports(1), token, 1)
    deadline = time.monotonic() + 60
    while is_running(token) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert stop(token) is None


def test_a_token_is_for_one_survey_at_a_time(token: str) -> None:
    start(free_ports(1), token, 60)
    with pytest.raises(PortError, match="listeners with this token run already"):
        start(free_ports(1), token, 60)


@root
def test_another_user_cannot_stop_the_listeners(token: str) -> None:
    (port,) = free_ports(1)
    start([port], token, 60)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            stop(token)
        except PortError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert try_one(port, token)["answer"] == "ours"


@root
@pytest.mark.parametrize("address", LOOPBACK.values())
def test_what_is_captured(address: str) -> None:
    watched, other = free_ports(2)
    udp = Port(watched.number, "udp")
    capture = Capture([watched, udp])
    with closing(capture.socket):
        found = probe({"here": address}, [watched, udp, other], "token", 1)["here"]
        noise = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        with noise:
            noise.sendto(b"not as long as a question", (address, watched.number))
        capture.read()
    incoming = {(one.port, one.peer_port) for one in capture.packets if not one.outgoing}
    assert incoming == {(str(port), found[str(port)]["source_port"]) for port in (watched, udp)}
    assert {(one.source, one.destination) for one in capture.packets} == {(address, address)}


def task(title: str, state: str, check: bool = False, **options: Any) -> dict[str, Any]:
    checked = {"check_mode": True} if check else {}
    return {
        "name": title,
        "fedcloud.oscar.port_probe": {"state": state, **options},
        "register": title.replace(" ", "_"),
        "ignore_errors": True,
        **checked,
    }


def test_through_ansible(newest: Ansible, token: str) -> None:
    port = str(free_ports(1)[0])
    here = {"hosts": {"here": "127.0.0.1"}, "ports": [port], "token": token}
    run = newest.play(
        [
            task("listen in check mode", "listening", check=True, ports=[port], token=token, lifetime=60),
            task("probe", "probed", **here),
            task("stop", "stopped", token=token),
            task("stop again", "stopped", token=token),
            task("probe again", "probed", **here),
            task("no ports", "listening", token=token),
            task("no hosts", "probed", ports=[port], token=token),
            task("wrong port", "listening", ports=["https"], token=token),
            task("wrong host", "probed", **{**here, "hosts": {"here": "nowhere.invalid"}}),
        ]
    )
    assert run["listen in check mode"].result["ports"][port]["listener"] == "ours"
    assert run["probe"].result["hosts"]["here"][port]["answer"] == "ours"
    assert run["stop"].result["running"] is True
    assert run["stop again"].result["running"] is False
    assert run["probe again"].result["hosts"]["here"][port]["state"] == "refused"
    assert not any(one.changed for one in run.tasks)
    assert "missing: ports" in run["no ports"].message
    assert "missing: hosts" in run["no hosts"].message
    assert run["wrong port"].message == "'https' is not a port: write 443, 7000-7020 or 8472/udp"
    assert "the address of here, 'nowhere.invalid', is not known here" in run["wrong host"].message
    assert token not in run.output
