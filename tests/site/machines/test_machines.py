# SPDX-License-Identifier: Apache-2.0
"""What the roles leave on the machines: units, sockets, modes of files, and no secret where it does not belong."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from testinfra.host import Host

pytestmark = pytest.mark.site
PUBLIC = {22, 80, 443}
ADMINISTRATION = {6443}  # the API of Kubernetes, from the networks of administrators
SECRETS = ("/etc/minio/secrets", "/etc/oscar/secrets")


@pytest.mark.parametrize("unit", ["containerd", "kubelet"])
def test_nodes_run_their_units(node: Host, unit: str) -> None:
    assert node.service(unit).is_running
    assert node.service(unit).is_enabled


@pytest.mark.parametrize("unit", ["minio", "oscar-invoker", "caddy"])
def test_the_front_end_runs_its_units(front: Host, unit: str) -> None:
    assert front.service(unit).is_running
    assert front.service(unit).is_enabled


def test_no_unit_has_failed(node: Host) -> None:
    assert node.check_output("systemctl list-units --state=failed --no-legend --plain") == ""


@pytest.mark.parametrize("unit", ["minio", "oscar-invoker", "caddy"])
def test_units_are_confined(front: Host, unit: str) -> None:
    settings = front.check_output(f"systemctl show {unit} --property=NoNewPrivileges,ProtectSystem,User")
    assert "NoNewPrivileges=yes" in settings
    assert "ProtectSystem=strict" in settings
    assert "User=root" not in settings
    assert "User=\n" not in settings + "\n"


@pytest.mark.parametrize("port", [8080, 9001])
def test_internal_servers_listen_to_their_own_machine(front: Host, port: int) -> None:
    assert {address for address, found in listening(front) if found == port} <= {"127.0.0.1"}


def test_only_public_ports_of_the_front_end_answer(front: Host) -> None:
    assert answering(front) <= PUBLIC | ADMINISTRATION
    assert 443 in answering(front)


def test_workers_answer_to_ssh_only(worker: Host) -> None:
    assert answering(worker) == {22}


@pytest.mark.parametrize("folder", SECRETS)
def test_secrets_are_for_root(front: Host, folder: str) -> None:
    assert front.file(folder).mode == 0o700
    files = front.check_output(f"find {folder} -type f -printf '%m %u\\n'").splitlines()
    assert set(files) == {"600 root"}


@pytest.mark.parametrize(
    "path",
    ["/etc/kubernetes/admin.conf", "/etc/oscar/invoker.yml", "/etc/oscar/kubeconfig", "/etc/oscar/kubeconfig.token"],
)
def test_others_read_no_credentials(front: Host, path: str) -> None:
    file = front.file(path)
    assert file.user == "root"
    assert file.mode & 0o137 == 0  # at most 0640


def test_logs_and_command_lines_show_no_secret(front: Host) -> None:
    secrets = front.check_output(f"cat $(find {' '.join(SECRETS)} -type f)").split()
    shown = front.check_output("journalctl --no-pager --output=cat; ps -ww -eo args")
    assert secrets
    assert [secret for secret in secrets if len(secret) >= 16 and secret in shown] == []


def listening(host: Host) -> set[tuple[str, int]]:
    """Address and port of each TCP socket that listens."""
    lines = host.check_output("ss --no-header --tcp --listening --numeric").splitlines()
    ends = [line.split()[3].rpartition(":") for line in lines]
    return {(address, int(port)) for address, _, port in ends}


def answering(host: Host) -> set[int]:
    """Ports that listen and can be reached from this machine."""
    address = host.check_output("hostname --all-ip-addresses").split()[0]
    return {port for port in {port for _, port in listening(host)} if _answers(address, port)}


def _answers(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False
