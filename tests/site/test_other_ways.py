# SPDX-License-Identifier: Apache-2.0
"""What a site may have otherwise: a cluster that is there already, PostgreSQL, a certificate of one's own.

The other site stands on a spare machine. Its cluster is that of the first one, whose invoker and services are gone.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import yaml
from deployed import FRONT, INVENTORY, OTHER_DOMAIN, WORKERS, Deployed, changed
from guests import named
from parts.pki import Authority
from parts.waiting import eventually
from workloads import COPY, put, service

pytestmark = [pytest.mark.site, pytest.mark.full]
COUNT = 10


def other_inventory(folder: Path, front: str, **variables: object) -> Path:
    """The inventory of a site without workers, which shares the first one's variables but for these."""
    folder.mkdir()
    (folder / "group_vars").symlink_to(INVENTORY / "group_vars")
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
    host = {"ansible_host": named([front])[0].address, **variables}
    hosts["all"]["children"] = {"front_end": {"hosts": {front: host}}, "workers": {"hosts": {}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def other(site: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    folder = tmp_path_factory.mktemp("other")
    kubectl = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
    site.ssh(FRONT, f"systemctl stop oscar-invoker && {kubectl} delete oscarservices --all --namespace oscar-services")
    kubeconfig = folder / "kubeconfig"
    kubeconfig.touch(0o600)
    kubeconfig.write_text(site.ssh(FRONT, "cat /etc/kubernetes/admin.conf"), encoding="utf-8")
    authority = Authority(folder / "pki")
    names = [f"{name}.{OTHER_DOMAIN}" for name in ("api", "s3", "console", "portal")]
    certificate, key = authority.issue("site", names[0], hosts=names)
    found = Deployed(site.ansible, site.folder, domain=OTHER_DOMAIN, ca_file=authority.certificate)
    found.inventory = other_inventory(
        folder / "inventory",
        found.front,
        kubernetes_existing_kubeconfig=str(kubeconfig),
        invoker_ledger="postgresql",
        ingress_domain=OTHER_DOMAIN,
        ingress_tls="files",
        ingress_certificate=str(certificate),
        ingress_certificate_key=str(key),
    )
    site.machine("reset", found.front)
    return found


def test_a_check_before_it_is_made_does_not_fail(other: Deployed) -> None:
    other.play("site", "--check")


def test_it_is_made_and_made_again(site: Deployed, other: Deployed) -> None:
    other.play("site")
    assert changed(other.play("site", "--check", "--diff")) == []
    assert changed(other.play("site")) == []
    assert {node["metadata"]["name"] for node in site.kubectl("nodes")["items"]} == {FRONT, *WORKERS}
    assert other.ssh(other.front, "ls /usr/bin/kubelet /usr/bin/kubeadm 2>/dev/null", must=False) == ""


def test_files_are_processed_in_the_cluster_and_known_in_postgresql(other: Deployed) -> None:
    other.declare(service("elsewhere", COPY))
    for number in range(COUNT):
        put(other, "elsewhere", f"in/{number}")
    jobs = other.wait_jobs(COUNT, service="elsewhere")
    assert [job["state"] for job in jobs] == ["succeeded"] * COUNT
    pods = other.kubectl("pods -n oscar-services -l oscar.fedcloud.eu/service=elsewhere")["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} <= set(WORKERS)
    count = "runuser -u postgres -- psql -tA oscar -c 'SELECT count(*) FROM runs'"
    assert int(other.ssh(other.front, count)) == COUNT


def test_the_ledger_that_was_restarted_is_found_again(other: Deployed) -> None:
    other.ssh(other.front, "systemctl restart postgresql")
    put(other, "elsewhere", "in/after")
    (job,) = eventually(lambda: other.jobs(service="elsewhere", key="in/after", state="succeeded"), 120)
    assert job["key"] == "in/after"


def test_certificates_of_the_control_plane_are_renewed(site: Deployed) -> None:
    """The timer's service, told that a year is too little, changes what the API server shows."""
    site.play("site", "--tags", "kubernetes", "--limit", FRONT, kubernetes_certificate_renew_days=400)
    assert "kubernetes-certificates.timer" in site.ssh(FRONT, "systemctl list-timers")
    address = (named([FRONT])[0].address, 6443)
    before = ssl.get_server_certificate(address)
    site.ssh(FRONT, "systemctl start oscar-kubernetes-certificates.service")
    eventually(lambda: ssl.get_server_certificate(address) != before, 120)
    eventually(lambda: len(site.kubectl("nodes")["items"]) == 1 + len(WORKERS), 60)
