# SPDX-License-Identifier: Apache-2.0
"""Inventories that cannot work: the playbook stops before it touches anything, and one sentence tells what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deployed import FRONT, WORKERS, Deployed
from workloads import state

pytestmark = [pytest.mark.site, pytest.mark.full]
ANYWHERE = "https://example.org/file"

# A variable, its bad value, and the sentence.
VARIABLES: list[tuple[str, Any, str]] = [
    ("kubernetes_version", "1.32.9", "kubernetes_version is '1.32.9'; it must be a version such as 1.36.4"),
    ("kubernetes_containerd_version", "two", "kubernetes_containerd_version is 'two'; it must be a version"),
    ("kubernetes_swap", "off", "kubernetes_swap is 'off'; it must be one of forbid, disable, allow."),
    ("kubernetes_api_port", 70000, "kubernetes_api_port is 70000; it must be a port from 1 to 65535."),
    ("kubernetes_api_port", "https", "kubernetes_api_port is 'https'; it must be a whole number."),
    ("kubernetes_pod_subnet", "10.244.0.1/16", "kubernetes_pod_subnet is '10.244.0.1/16'; it must be a network"),
    ("kubernetes_pod_subnet", "10.244.0.0/24", "kubernetes_pod_subnet is 10.244.0.0/24; it must be /23 or larger"),
    ("kubernetes_pod_subnet", "10.77.0.0/16", "the network of the host is 10.77.0.0/24; the two must not overlap."),
    ("kubernetes_service_subnet", "10.244.128.0/20", "kubernetes_service_subnet is 10.244.128.0/20; the two must not"),
    ("kubernetes_mtu", 900, "kubernetes_mtu is 900; it must be a number from 1280 to 9216"),
    ("kubernetes_mtu", 1490, "kubernetes_mtu is 1490; it must be at most 1450"),
    ("kubernetes_node_taints", ["gpu"], "kubernetes_node_taints[0] is 'gpu'; it must be a taint"),
    ("kubernetes_flannel_image", "flannel image", "kubernetes_flannel_image is 'flannel image'; it must be an image"),
    ("kubernetes_registry_mirrors", {"docker.io": ["mirror"]}, "kubernetes_registry_mirrors.docker.io[0] is 'mirror'"),
    ("kubernetes_cni", "manifest", "kubernetes_cni is manifest; kubernetes_cni_manifest must have url and checksum."),
    ("kubernetes_cni", "calico", "kubernetes_cni is 'calico'; it must be one of"),
    ("kubernetes_repository", {"url": ANYWHERE, "uri": "x"}, "kubernetes_repository has the unknown field uri"),
    ("kubernetes_registry_mirror", {}, "kubernetes_registry_mirror is not a variable of any role"),
    ("kubernetes_existing_kubeconfig", "/no/such", "kubernetes_existing_kubeconfig is '/no/such', which is no file"),
    ("firewall_admin_networks", ["10.77.0.1"], "firewall_admin_networks[0] is '10.77.0.1'; it must be a network"),
    ("firewall_admin_networks", "10.77.0.1/32", "firewall_admin_networks is '10.77.0.1/32'; it must be a list."),
    ("firewall_confirm", "perhaps", "firewall_confirm is 'perhaps'; it must be true or false."),
    ("minio_url", "example.org/minio", "minio_url is 'example.org/minio'; it must be a URL"),
    ("minio_checksum", "12ab", "minio_checksum is '12ab'; it must be a SHA-256, 64 hexadecimal digits."),
    ("ingress_domain", "oscar", "ingress_domain is 'oscar'; it must be a domain name such as oscar.example.org."),
    ("ingress_tls", "letsencrypt", "ingress_tls is 'letsencrypt'; it must be one of"),
    ("ingress_tls", "files", "ingress_certificate is not set; with ingress_tls files it must name a PEM file."),
    ("preflight_min_cpus", 512, "CPUs; it must have at least 512."),
    ("preflight_min_memory", 10**8, "MiB of memory; it must have at least 100000000."),
    ("preflight_min_disk", 10**6, "it must have at least 1000000.0."),
]
# What is added to the inventory, and the sentence.
GROUPS: list[tuple[dict[str, Any], str]] = [
    ({"front_end": {"hosts": {"worker1": {}}}}, "The inventory group front_end has 2 hosts (front, worker1)"),
    ({"workers": {"hosts": {"front": {}}}}, "front is in both groups front_end and workers"),
    ({"workers": {"hosts": {"worker2": {"kubernetes_node_name": "worker1"}}}}, "have the node name worker1"),
    ({"workers": {"hosts": {"worker2": {"kubernetes_node_name": "No_2"}}}}, "The node name of worker2 is 'No_2'"),
]


@pytest.fixture(scope="module")
def untouched(site: Deployed) -> dict[str, list[str]]:
    site.machine("reset", FRONT, *WORKERS)  # whatever an earlier run left would still be starting
    return state(site)


def refused(site: Deployed, *options: str) -> str:
    """What the play says, which must stop in its first part."""
    run = site.play("site", "--tags", "preflight", *options, must=False)
    assert run.code != 0, run.output
    return " ".join(run.output.split())


@pytest.mark.parametrize(("name", "value", "sentence"), VARIABLES, ids=[f"{row[0]}={row[1]}" for row in VARIABLES])
def test_a_bad_variable_is_told(
    site: Deployed, untouched: dict[str, list[str]], name: str, value: object, sentence: str
) -> None:
    assert untouched
    assert sentence in refused(site, "-e", json.dumps({name: value}))


@pytest.mark.parametrize(("groups", "sentence"), GROUPS)
def test_a_bad_group_is_told(site: Deployed, tmp_path: Path, groups: dict[str, Any], sentence: str) -> None:
    more = tmp_path / "more.yml"
    more.write_text(json.dumps({"all": {"children": groups}}), encoding="utf-8")
    assert sentence in refused(site, "-i", str(more))


def test_nothing_was_touched(site: Deployed, untouched: dict[str, list[str]]) -> None:
    assert {host: site.ssh(host, "true") for host in (FRONT, *WORKERS)}
    assert state(site) == untouched
