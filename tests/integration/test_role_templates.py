# SPDX-License-Identifier: Apache-2.0
"""What roles write: units with limits, a public port that closes administration, rules that hold for Pods."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.ansible_run import ROOT, Ansible

FACTS = {"default_ipv4": {"address": "10.0.0.10", "network": "10.0.0.0", "prefix": "24"}, "os_family": "Debian"}


def rendered(folder: Path, role: str, template: str, **variables: Any) -> str:
    """Return what a template of a role becomes with the role's defaults, and these variables over them."""
    path = ROOT / "roles" / role
    known = yaml.safe_load((path / "defaults/main.yml").read_text(encoding="utf-8"))
    known |= {"ansible_facts": FACTS, "ansible_check_mode": False, "inventory_hostname": "front", **variables}
    done = Ansible("newest", folder / "ansible").play(
        [
            {"ansible.builtin.include_vars": str(path / "vars/main.yml")},
            {"ansible.builtin.template": {"src": str(path / "templates" / template), "dest": str(folder / "made")}},
        ],
        vars=known,
    )
    assert done.code == 0, done.output
    return (folder / "made").read_text(encoding="utf-8")


def section(text: str, begin: str) -> str:
    """Return the block of a Caddyfile that a line opens."""
    return text.partition(begin)[2].partition("\n}\n")[0]


@pytest.mark.parametrize(
    ("role", "template"),
    [
        ("invoker", "oscar-invoker.service.j2"),
        ("autoscaler", "oscar-autoscaler.service.j2"),
        ("minio", "minio.service.j2"),
        ("ingress", "oscar.conf.j2"),
    ],
)
def test_units_have_limits_and_begin_again_with_a_pause(tmp_path: Path, role: str, template: str) -> None:
    lines = rendered(tmp_path, role, template, ingress_domain="oscar.example.org").splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert settings["MemoryMax"] not in ("", "infinity")
    assert settings["Restart"] == "always"
    assert settings["StartLimitIntervalSec"] == "0", "systemd never gives up"
    assert int(settings["RestartMaxDelaySec"]) > int(settings["RestartSec"])
    if role in ("invoker", "autoscaler"):
        assert int(settings["WatchdogSec"]) > 0
        assert settings["NotifyAccess"] == "main"


def test_jobs_that_belong_to_the_unit_have_no_part_in_its_limit(tmp_path: Path) -> None:
    text = rendered(tmp_path, "invoker", "oscar-invoker.service.j2", invoker_launcher={"type": "process"})
    assert "MemoryMax=infinity" in text


def test_secrets_of_other_stores_reach_the_daemon(tmp_path: Path) -> None:
    text = rendered(tmp_path, "invoker", "oscar-invoker.service.j2", invoker_secrets={"archive-key": "swordfish"})
    assert "LoadCredential=archive-key:/etc/oscar/secrets/archive-key" in text
    assert "LoadCredential=monitor-token:/etc/oscar/secrets/monitor-token" in text
    assert "swordfish" not in text


def test_administration_and_console_are_closed_unless_opened(tmp_path: Path) -> None:
    text = rendered(tmp_path, "ingress", "Caddyfile.j2", ingress_domain="oscar.example.org")
    store = section(text, "https://s3.oscar.example.org {")
    assert "@private path /minio/*" in store
    assert "respond @private 404" in store
    assert "console." not in text
    opened = rendered(
        tmp_path,
        "ingress",
        "Caddyfile.j2",
        ingress_domain="oscar.example.org",
        ingress_storage_private_paths=[],
        ingress_console_upstream="127.0.0.1:9001",
    )
    assert "@private" not in section(opened, "https://s3.oscar.example.org {")
    assert "reverse_proxy 127.0.0.1:9001" in section(opened, "https://console.oscar.example.org {")
    assert "@private path /hooks/*" in section(opened, "https://api.oscar.example.org {")


def table(folder: Path, **variables: Any) -> str:
    """Return the table of the firewall, which nft accepts."""
    components = ["ssh", "control_plane", "minio", "ingress"]
    text = rendered(folder, "firewall", "firewall.nft.j2", **{"firewall_components": components, **variables})
    checked = subprocess.run(
        ["unshare", "--net", "nft", "--check", "--file", str(folder / "made")], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    return text


def test_pods_reach_no_ports_of_kubernetes_on_other_hosts(tmp_path: Path) -> None:
    text = table(tmp_path)
    forward = text.partition("chain forward")[2]
    closed = "ip saddr 10.244.0.0/16 ip daddr 10.0.0.0/24"
    assert f"{closed} tcp dport {{ 2379-2381, 10248-10260 }} drop" in forward
    assert f"{closed} udp dport {{ 8472 }} drop" in forward
    assert forward.index(closed) < forward.index("ip saddr 10.244.0.0/16 accept"), "before what lets Pods out"
    assert 'iifname "cni0" ip saddr != { 10.244.0.0/16 } drop' in text
    assert "ip daddr 169.254.169.254 drop" in forward


def test_one_address_opens_connections_at_a_limited_rate(tmp_path: Path) -> None:
    text = table(tmp_path, firewall_public_rate=600, firewall_public_burst=50)
    assert "limit rate over 600/minute burst 50 packets } drop" in text
    assert "ct state new tcp dport { 443, 80 } jump rates" in text
    rates = text.partition("chain rates")[2].partition("chain input")[0]
    assert rates.index("ip saddr 10.0.0.0/24 return") < rates.index("update @clients4"), "hosts of the site have none"


@pytest.mark.parametrize("off", [{"firewall_public_rate": 0}, {"firewall_components": ["ssh", "worker"]}])
def test_the_rate_is_limited_only_where_users_come_in(tmp_path: Path, off: dict[str, Any]) -> None:
    assert "rates" not in table(tmp_path, **off)


def test_what_is_closed_to_pods_can_be_chosen(tmp_path: Path) -> None:
    text = table(tmp_path, firewall_closed_to_pods={"tcp": ["22"]}, firewall_pod_interfaces=[])
    assert "tcp dport { 22 } drop" in text
    assert "borrows" not in text


@pytest.mark.parametrize(
    ("address", "port"),
    [(None, "9000"), ("10.0.0.10:9100", "9100"), (":9000", "9000"), ("127.0.0.1:9000", ""), ("localhost:9000", "")],
)
def test_the_port_of_the_store_is_opened_where_it_listens(tmp_path: Path, address: str | None, port: str) -> None:
    rules = [
        line
        for line in table(tmp_path, **({"minio_address": address} if address else {})).splitlines()
        if "MinIO" in line
    ]
    assert bool(rules) == bool(port)
    assert all(f"tcp dport {{ {port} }} accept" in rule for rule in rules)
    assert all("ip saddr 10." in rule for rule in rules), "not from everywhere"


def test_jobs_have_a_network_policy(tmp_path: Path) -> None:
    """It reaches DNS, the store and what is outside; ports are numbers."""
    policy = policies(tmp_path, firewall_cluster_networks=["10.0.0.0/24"])
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"], "the server drops an empty list, so that the next run would write it again"
    dns, store, outside = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert store == {"to": [{"ipBlock": {"cidr": "10.0.0.10/32"}}], "ports": [{"protocol": "TCP", "port": 9000}]}
    (block,) = (peer["ipBlock"] for peer in outside["to"])
    assert {"10.244.0.0/16", "10.96.0.0/12", "169.254.0.0/16", "10.0.0.0/24"} == set(block["except"])


def test_the_network_policy_can_be_taken_back(tmp_path: Path) -> None:
    spec = policies(tmp_path, invoker_network_policy=False)["spec"]
    assert spec["ingress"] == spec["egress"] == [{}]


def policies(folder: Path, **variables: Any) -> Any:
    (folder / "policy.j2").write_text("{{ __invoker_policies | first }}")
    return yaml.safe_load(rendered(folder, "invoker", str(folder / "policy.j2"), **variables))


def test_the_kubelet_limits_processes_by_a_number(tmp_path: Path) -> None:
    (folder := tmp_path / "x").mkdir()
    (folder / "kubelet.j2").write_text("{{ __kubernetes_kubelet_config | to_nice_yaml }}")
    settings = yaml.safe_load(
        rendered(tmp_path, "kubernetes", str(folder / "kubelet.j2"), kubernetes_pod_pids_limit="99")
    )
    assert settings["podPidsLimit"] == 99


@pytest.mark.parametrize(("encrypt", "first"), [(True, "secretbox"), (False, "identity")])
def test_secrets_are_read_with_the_key_in_any_case(tmp_path: Path, encrypt: bool, first: str) -> None:
    (tmp_path / "encryption.j2").write_text("{{ __kubernetes_encryption }}")
    settings = yaml.safe_load(
        rendered(
            tmp_path,
            "kubernetes",
            str(tmp_path / "encryption.j2"),
            kubernetes_encrypt_secrets=encrypt,
            __kubernetes_key_read={"content": "YWJjCg=="},
        )
    )
    providers = settings["resources"][0]["providers"]
    assert next(iter(providers[0])) == first
    assert {name for provider in providers for name in provider} == {"secretbox", "identity"}


def encoded(text: str) -> dict[str, str]:
    """Return what Ansible reads of a file."""
    return {"content": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        (["QUJD\n"], [("oscar", "QUJD")]),
        (["oscar-a1 REVG\n", "QUJD\n"], [("oscar-a1", "REVG"), ("oscar", "QUJD")]),
        (["oscar-b2 R0hJ\n", "oscar-a1 REVG\n"], [("oscar-b2", "R0hJ"), ("oscar-a1", "REVG")]),
        (["QUJD\n", "QUJD\n"], [("oscar", "QUJD")]),  # interrupted before there was a new key
    ],
)
def test_the_former_key_is_read_behind_the_new_one(
    tmp_path: Path, files: list[str], keys: list[tuple[str, str]]
) -> None:
    (tmp_path / "encryption.j2").write_text("{{ __kubernetes_encryption }}")
    read = dict(zip(("__kubernetes_key_read", "__kubernetes_former_read"), map(encoded, files), strict=False))
    settings = yaml.safe_load(rendered(tmp_path, "kubernetes", str(tmp_path / "encryption.j2"), **read))
    found = settings["resources"][0]["providers"][0]["secretbox"]["keys"]
    assert [(key["name"], key["secret"]) for key in found] == keys


def rotate(folder: Path) -> tuple[str, str]:
    """Change the key in a folder; return the key and the former one."""
    names = {"__kubernetes_encryption_key_file": folder / "new.key", "__kubernetes_former_key_file": folder / "former"}
    tasks = yaml.safe_load((ROOT / "roles/kubernetes/tasks/rotate_key.yml").read_text(encoding="utf-8"))
    for task in tasks:
        for name in ("owner", "group"):
            task.get("ansible.builtin.copy", {}).pop(name, None)
    done = Ansible("newest", folder / "ansible").play(tasks, vars={name: str(path) for name, path in names.items()})
    assert done.code == 0, done.output
    return (folder / "new.key").read_text(), (folder / "former").read_text()


def test_a_key_is_changed_once_until_the_former_one_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "new.key").write_text("QUJD\n")
    key, former = rotate(tmp_path)
    assert former == "QUJD\n"
    assert re.fullmatch("oscar-[a-z0-9]{8} [A-Za-z0-9+/]{43}=", key.strip())
    assert rotate(tmp_path) == (key, former), "interrupted, and begun again"
    (tmp_path / "former").write_text(key)  # interrupted when the former key was kept and there was no new one
    newer, former = rotate(tmp_path)
    assert (former, newer != key) == (key, True)


@pytest.mark.parametrize(
    ("listen", "url"), [("0.0.0.0:9999", "http://127.0.0.1:9999"), ("10.0.0.1:8080", "http://10.0.0.1:8080")]
)
def test_a_backup_knows_where_the_invoker_is(tmp_path: Path, listen: str, url: str) -> None:
    (tmp_path / "places.j2").write_text("{{ [__backup_invoker_url, __backup_ledger] + __backup_paths }}")
    found = yaml.safe_load(
        rendered(tmp_path, "backup", str(tmp_path / "places.j2"), invoker_listen=listen, invoker_data_dir="/srv/oscar")
    )
    assert found[:2] == [url, "/srv/oscar/ledger.db"]
    assert "/srv/oscar/services" in found
    assert not [path for path in found if "/var/lib/oscar" in path]


@pytest.mark.parametrize(("limit", "found"), [("", None), (5 * 2**30, 5 * 2**30), (0, 0)])
def test_the_disk_of_jobs_can_be_limited(tmp_path: Path, limit: object, found: int | None) -> None:
    (tmp_path / "launcher.j2").write_text("{{ __invoker_launcher | to_json }}")
    text = rendered(tmp_path, "invoker", str(tmp_path / "launcher.j2"), invoker_job_disk_limit=limit)
    assert yaml.safe_load(text).get("disk_limit") == found


def invoker_settings(folder: Path, **variables: Any) -> Any:
    """Return what the daemon's settings become."""
    return yaml.safe_load(
        rendered(folder, "invoker", "invoker.yml.j2", role_path="", __invoker_access_key={}, **variables)
    )


def test_bounds_of_the_invoker_have_variables_of_their_own(tmp_path: Path) -> None:
    found = invoker_settings(tmp_path, invoker_max_pending=2**30, invoker_callback_networks=["10.20.0.0/16"])
    assert (found["max_pending"], found["callback_networks"]) == (2**30, ["10.20.0.0/16"])


def test_what_is_as_by_default_stays_out_of_the_settings(tmp_path: Path) -> None:
    """So that a new version of the role restarts nothing; ``invoker_settings`` goes over all variables."""
    found = invoker_settings(tmp_path, invoker_settings={"max_pending": 7})
    assert found["max_pending"] == 7
    assert "callback_networks" not in found
