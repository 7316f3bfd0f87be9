# SPDX-License-Identifier: Apache-2.0
"""The site of the restore is brought to newer versions of Kubernetes, MinIO and the invoker while it works."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from deployed import FRONT, WORKERS, Deployed, changed
from run import sha256
from settings import WWW
from versions import VERSIONS
from workloads import COPY, assert_each_once, put_many, service

pytestmark = [pytest.mark.site, pytest.mark.full]
HEALTH = "python3 -c 'import urllib.request as web; web.urlopen(\"http://127.0.0.1:8080/readyz\")'"


def kubelets(site: Deployed) -> set[str]:
    return {node["status"]["nodeInfo"]["kubeletVersion"] for node in site.kubectl("nodes")["items"]}


def another_wheelhouse(folder: Path, module: str, line: str) -> str:
    """The mirror's Python packages, with a line added to a module of ours."""
    wheelhouse = folder / "wheels"
    shutil.copytree(WWW / "wheels", wheelhouse)
    (wheel,) = wheelhouse.glob("oscar_fedcloud-*.whl")
    before = sha256(wheel)
    changed_wheel = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(changed_wheel, "w") as new:
        for member in old.infolist():
            more = f"\n{line}\n".encode() if member.filename == f"oscar_fedcloud/{module}" else b""
            new.writestr(member, old.read(member) + more)
    changed_wheel.replace(wheel)
    listed = wheelhouse / "requirements.txt"
    listed.write_text(listed.read_text(encoding="utf-8").replace(before, sha256(wheel)), encoding="utf-8")
    return str(wheelhouse)


def test_kubernetes_is_upgraded_while_jobs_run(site: Deployed) -> None:
    assert kubelets(site) == {f"v{VERSIONS['kubernetes-before']}"}
    site.declare(service("upgraded", f"sleep 10; {COPY}"))
    put_many(site, "upgraded", 20)
    site.play("upgrade", "--tags", "kubernetes")
    assert kubelets(site) == {f"v{VERSIONS['kubernetes']}"}
    assert not [node for node in site.kubectl("nodes")["items"] if node["spec"].get("unschedulable")]
    assert_each_once(site, "upgraded", 20)


def test_minio_is_upgraded(site: Deployed) -> None:
    """The next MinIO is the same source under another version, since only one can be built."""
    before = site.ssh(FRONT, "/opt/minio/current/bin/minio --version")
    new = WWW / "files" / "minio-next"
    site.play(
        "upgrade", "--tags", "minio", minio_url="http://10.77.0.1:8081/files/minio-next", minio_checksum=sha256(new)
    )
    assert site.ssh(FRONT, "/opt/minio/current/bin/minio --version") != before
    site.play("upgrade", "--tags", "minio")


def test_the_invoker_is_upgraded(site: Deployed, tmp_path: Path) -> None:
    wheelhouse = another_wheelhouse(tmp_path, "__init__.py", '__version__ = "2.0.1"')
    site.declare(service("newer", f"sleep 3; {COPY}"))
    put_many(site, "newer", 10)
    site.play("upgrade", "--tags", "invoker", invoker_wheelhouse=wheelhouse)
    assert "2.0.1" in site.ssh(FRONT, "/opt/oscar/current/bin/oscar-invoker --version")
    assert_each_once(site, "newer", 10)


def test_an_invoker_that_cannot_run_goes_back(site: Deployed, tmp_path: Path) -> None:
    running = site.ssh(FRONT, "readlink /opt/oscar/current")
    wheelhouse = another_wheelhouse(tmp_path, "daemon/invoker.py", 'raise OSError("this version cannot run")')
    run = site.play("upgrade", "--tags", "invoker", invoker_wheelhouse=wheelhouse, invoker_ready_timeout=20, must=False)
    assert run.code != 0
    assert "did not become ready" in run.output
    assert site.ssh(FRONT, "readlink /opt/oscar/current") == running
    site.ssh(FRONT, HEALTH)


def test_nothing_is_left_to_change(site: Deployed) -> None:
    site.play("site")
    assert changed(site.play("site")) == []
    assert {host: site.ssh(host, "systemctl --failed --quiet") for host in (FRONT, *WORKERS)} == dict.fromkeys(
        (FRONT, *WORKERS), ""
    )


@pytest.mark.parametrize("part", ["preflight", "firewall", "kubernetes", "minio", "invoker", "ingress"])
def test_a_part_of_the_site_runs_by_its_tag(site: Deployed, part: str) -> None:
    assert changed(site.play("site", "--tags", part)) == []
