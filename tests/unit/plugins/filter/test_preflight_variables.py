# SPDX-License-Identifier: Apache-2.0
"""Bad variables: each gives one sentence that names the variable, its value and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.fedcloud.oscar.plugins.filter import preflight

ROOT = Path(__file__).parents[4]
GOOD = {
    "kubernetes_version": "1.36.4",
    "kubernetes_repository": {
        "url": "http://mirror.example.org/apt",
        "key_url": "http://mirror.example.org/key.asc",
        "key_fingerprint": "DE15 B144 86CD 377B 9E87 6E1A 2346 54DA 9A29 6436",
    },
    "kubernetes_registry_mirrors": {"docker.io": ["http://mirror.example.org:5000"]},
    "kubernetes_swap": "disable",
    "kubernetes_mtu": 1400,
    "kubernetes_node_taints": ["gpu=true:NoSchedule"],
    "firewall_admin_networks": ["192.0.2.0/24", "2001:db8::/32"],
    "firewall_components": ["ssh", "worker"],
}

BAD = [
    ("kubernetes_version", "1.32.9", " is '1.32.9'; it must be a version such as 1.36.4, at least 1.33.0."),
    ("kubernetes_version", "latest", " is 'latest'; it must be a version such as 1.36.4, at least 1.33.0."),
    ("kubernetes_containerd_version", "2", " is '2'; it must be a version such as 2.2.7."),
    ("kubernetes_node_role", "master", " is 'master'; it must be one of control_plane, worker."),
    ("kubernetes_swap", "off", " is 'off'; it must be one of forbid, disable, allow."),
    ("kubernetes_node_name", "Node_1", " is 'Node_1'; it must be a host name such as worker-1, in lower case."),
    ("kubernetes_node_address", "10.0.0.300", " is '10.0.0.300'; it must be an IP address."),
    ("kubernetes_api_port", 70000, " is 70000; it must be a port from 1 to 65535."),
    ("kubernetes_api_port", "https", " is 'https'; it must be a whole number."),
    ("kubernetes_pod_subnet", "10.244.0.0", " is '10.244.0.0'; it must be a network such as 10.244.0.0/16."),
    ("kubernetes_pod_subnet", "10.244.0.1/16", " is '10.244.0.1/16'; it must be a network such as 10.244.0.0/16."),
    (
        "kubernetes_pod_subnet",
        "10.244.0.0/24",
        " is 10.244.0.0/24; it must be /23 or larger, since each node takes a /24 of it.",
    ),
    (
        "kubernetes_pod_subnet",
        "10.96.0.0/16",
        " is 10.96.0.0/16 and kubernetes_service_subnet is 10.96.0.0/12; the two must not overlap.",
    ),
    (
        "kubernetes_service_subnet",
        "192.0.2.0/24",
        " is 192.0.2.0/24 and the network of the host is 192.0.2.0/25; the two must not overlap.",
    ),
    ("kubernetes_mtu", 900, " is 900; it must be a number from 1280 to 9216, or 0 for the network's own."),
    ("kubernetes_node_taints", ["gpu"], "[0] is 'gpu'; it must be a taint such as gpu=true:NoSchedule."),
    ("kubernetes_node_labels", ["gpu"], " is ['gpu']; it must be a mapping."),
    (
        "kubernetes_flannel_image",
        "flannel image",
        " is 'flannel image'; it must be an image such as docker.io/library/busybox:1.36.",
    ),
    (
        "kubernetes_registry_mirrors",
        {"docker.io": ["mirror:5000"]},
        ".docker.io[0] is 'mirror:5000'; it must be a URL such as https://mirror.example.org.",
    ),
    (
        "kubernetes_cni_manifest",
        {"url": "https://example.org/cni.yaml", "checksum": "sha256:123"},
        ".checksum is 'sha256:123'; it must be a SHA-256, 64 hexadecimal digits.",
    ),
    ("kubernetes_cni", "manifest", " is manifest; kubernetes_cni_manifest must have url and checksum."),
    ("kubernetes_join_ca_hash", "abc", " is 'abc'; it must be sha256: and 64 hexadecimal digits."),
    (
        "kubernetes_repository",
        {**GOOD["kubernetes_repository"], "key_fingerprint": "DE15"},
        ".key_fingerprint is 'DE15'; it must be a fingerprint of 40 hexadecimal digits.",
    ),
    (
        "kubernetes_repository",
        {**GOOD["kubernetes_repository"], "uri": "x"},
        " has the unknown field uri; it may have url, suite, components, key_url, key_fingerprint.",
    ),
    ("kubernetes_existing_kubeconfig", "/no/such/file", " is '/no/such/file', which is no file on the controller."),
    ("kubernetes_registry_mirror", {}, " is not a variable of any role; kubernetes_registry_mirrors is."),
    (
        "firewall_components",
        ["ssh", "web"],
        "[1] is 'web'; it must be one of ssh, control_plane, worker, minio, ingress.",
    ),
    ("firewall_admin_networks", ["192.0.2.7"], "[0] is '192.0.2.7'; it must be a network such as 192.0.2.0/24."),
    ("firewall_admin_networks", "192.0.2.0/24", " is '192.0.2.0/24'; it must be a list."),
    ("firewall_confirm", "perhaps", " is 'perhaps'; it must be true or false."),
    (
        "firewall_closed_to_pods",
        {"tcp": ["10250", "9-1"]},
        ".tcp[1] is '9-1'; it must be a port or a range such as 7000-7020.",
    ),
    ("firewall_public_rate", -1, " is -1; it must be a number of connections a minute, or 0 for no limit."),
    ("firewall_public_burst", 0, " is 0; it must be a number of connections above 0."),
    ("kubernetes_pod_pids_limit", 0, " is 0; it must be a number above 0, or -1 for no limit."),
    ("port_survey_public_ports", ["443", "x"], "[1] is 'x'; it must be a port or a range such as 7000-7020."),
    ("port_survey_timeout", "soon", " is 'soon'; it must be a whole number."),
    ("port_survey_sit", "x", " is not a variable of any role; port_survey_site is."),
    ("backup_etcd", "maybe", " is 'maybe'; it must be true or false."),
    ("backup_recipients", "key.asc", " is not a variable of any role; backup_recipient is."),
    ("backup_invoker_listen", "8080", " is '8080'; it must be an address and a port such as 127.0.0.1:8080."),
    ("autoscaler_listen", "here", " is 'here'; it must be an address and a port such as 127.0.0.1:8080."),
    ("autoscaler_pools", {}, " is {}; it must be a list."),
    ("autoscaler_pool", [], " is not a variable of any role; autoscaler_pools is."),
    ("autoscaler_memory_max", "lots", " is 'lots'; it must be an amount such as 2G, a share such as 50%, or infinity."),
    ("autoscaler_watchdog", -1, " is -1; it must be a number that is not negative."),
    ("invoker_job_disk_limit", "20Gi", " is '20Gi'; it must be a number of bytes, or 0 for no limit."),
    ("invoker_max_pending", -1, " is -1; it must be a number of bytes, or 0 for twice the largest body."),
    ("invoker_callback_networks", ["10.0.0.1"], "[0] is '10.0.0.1'; it must be a network such as 192.0.2.0/24."),
    ("invoker_token_lifetime", 60, " is 60; it must be at least 600 seconds."),
    ("service_account_lifetime", 60, " is 60; it must be at least 600 seconds."),
    ("minio_address", "9000", " is '9000'; it must be an address and a port such as 127.0.0.1:8080."),
    ("ingress_console_upstream", "yes", " is 'yes'; it must be an address and a port such as 127.0.0.1:8080."),
]


def problems(variables: dict[str, object]) -> list[str]:
    return preflight.variable_problems(variables, ["kubernetes", "firewall"], "192.0.2.0/25")


def test_good_variables_are_no_problem() -> None:
    assert problems(GOOD) == []
    assert problems({}) == []


def test_a_switch_is_not_taken_for_what_its_name_ends_in() -> None:
    switches = {"minio_rotate_root_password": False}
    assert preflight.variable_problems(switches, ["minio"], "192.0.2.0/25") == preflight.variable_problems(
        {}, ["minio"], "192.0.2.0/25"
    )


@pytest.mark.parametrize(("name", "value", "rest"), BAD, ids=[f"{row[0]}-{n}" for n, row in enumerate(BAD)])
def test_bad_variable_gives_one_sentence(name: str, value: object, rest: str) -> None:
    assert problems(GOOD | {name: value}) == [name + rest]


def test_all_problems_are_told_at_once() -> None:
    assert len(problems({"kubernetes_api_port": 0, "kubernetes_mtu": 1, "firewall_components": ["web"]})) == 3


def test_no_secret_is_shown() -> None:
    [sentence] = problems({"kubernetes_join_token": "hunter2"})
    assert sentence == "kubernetes_join_token is 7 characters long; it must be a token such as abcdef.0123456789abcdef."


@pytest.mark.parametrize("name", ["autoscaler_secrets", "invoker_secrets"])
def test_no_secret_in_a_mapping_is_shown(name: str) -> None:
    [sentence] = problems({name: {"cloud_port": "hunter2"}})
    assert sentence == f"{name}.cloud_port is 7 characters long; it must be a port from 1 to 65535."


def test_every_role_is_looked_at() -> None:
    """The role takes the variables that begin like a role; this is the list that it goes by."""
    known = yaml.safe_load((ROOT / "roles/preflight/vars/main.yml").read_text(encoding="utf-8"))
    assert known["__preflight_known_roles"] == sorted(file.name for file in (ROOT / "roles").iterdir())


def daemons(variables: dict[str, object], *roles: str) -> list[str]:
    return preflight.variable_problems(variables, list(roles), "192.0.2.0/25")


SHARED = "The store s3.archive in invoker_providers has type s3 and no shared_key; it must be true if all Jobs may use"


@pytest.mark.parametrize("place", ["invoker_providers", "invoker_settings"])
def test_it_must_be_said_whether_jobs_share_the_key_of_a_store(place: str) -> None:
    def given(**more: object) -> dict[str, object]:
        stores = {"s3.archive": {"type": "s3", "endpoint": "https://s3.example.org", "access_key": "AKIA", **more}}
        return {place: stores if place == "invoker_providers" else {"providers": stores}}

    [told] = daemons(given())
    assert told.startswith(SHARED)
    assert daemons(given(shared_key=True)) == daemons(given(shared_key=False)) == []
    assert daemons(given(access_key="")) == [], "public data needs no key"
    assert daemons({**given(), "invoker_launcher": {"type": "process"}}) == []
    assert daemons({"invoker_providers": {"minio.other": {"type": "minio", "access_key": "a"}}}) == []


def test_an_autoscaler_without_clouds_or_pools_is_told() -> None:
    assert daemons({}) == []
    assert [sentence.partition(";")[0] for sentence in daemons({}, "autoscaler")] == [
        "autoscaler_clouds is empty",
        "autoscaler_pools is empty",
    ]


def test_a_pool_of_an_unknown_cloud_is_told() -> None:
    variables = {
        "autoscaler_clouds": {"here": {"type": "command"}},
        "autoscaler_pools": [{"name": "a", "cloud": "there"}],
    }
    assert daemons(variables, "autoscaler") == ["autoscaler_pools[0].cloud is 'there'; it must be one of here."]
