# SPDX-License-Identifier: Apache-2.0
"""A fresh site, its second run, a picture over the public port, a failing script, a worker that loses its power."""

from __future__ import annotations

import time
from base64 import b64encode
from pathlib import Path

import pytest
from deployed import FRONT, WORKERS, Deployed, changed
from parts.ansible_run import ROOT
from parts.waiting import eventually
from PIL import Image
from workloads import COPY, put, service, state

pytestmark = pytest.mark.site
GRAYIFY = ROOT / "examples" / "grayify"


def ready_nodes(site: Deployed) -> set[str]:
    return {
        node["metadata"]["name"]
        for node in site.kubectl("nodes")["items"]
        if ("Ready", "True") in [(one["type"], one["status"]) for one in node["status"]["conditions"]]
    }


def test_a_check_on_fresh_machines_does_not_fail(site: Deployed) -> None:
    site.machine("reset", FRONT, *WORKERS)
    site.play("site", "--check")


def test_the_site_is_made(site: Deployed) -> None:
    run = site.play("site")
    assert changed(run)
    assert ready_nodes(site) == {FRONT, *WORKERS}


def test_the_second_run_changes_nothing(site: Deployed) -> None:
    before = state(site)
    assert changed(site.play("site", "--check", "--diff")) == []
    assert changed(site.play("site")) == []
    assert state(site) == before


def test_a_photograph_comes_back_grey_from_a_worker(site: Deployed, tmp_path: Path) -> None:
    site.declare(GRAYIFY / "fdl.yml")
    s3 = site.s3()
    s3.upload_file(str(GRAYIFY / "grace_hopper.jpg"), "grayify", "in/grace_hopper.jpg")
    (job,) = site.wait_jobs(1, service="grayify")
    assert job["state"] == "succeeded", job
    (result,) = s3.list_objects_v2(Bucket="grayify", Prefix="out/")["Contents"]
    s3.download_file("grayify", result["Key"], str(tmp_path / "grey"))
    with Image.open(tmp_path / "grey") as after, Image.open(GRAYIFY / "grace_hopper.jpg") as before:
        assert after.size == before.size
        red, green, blue = after.convert("RGB").split()
        assert red.tobytes() == green.tobytes() == blue.tobytes()
    pods = site.kubectl("pods -n oscar-services")["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} <= set(WORKERS)
    (service,) = site.kubectl("oscarservices -n oscar-services")["items"]
    conditions = {one["type"]: one["status"] for one in service["status"]["conditions"]}
    assert conditions["Ready"] == "True"


def test_no_pod_holds_the_root_key(site: Deployed) -> None:
    secrets = site.ssh(
        FRONT, "kubectl --kubeconfig /etc/kubernetes/admin.conf get secrets,configmaps,pods,jobs -A -o yaml"
    )
    assert site.root_password not in secrets
    assert b64encode(site.root_password.encode()).decode() not in secrets


def test_the_exit_code_of_a_script_is_told(site: Deployed) -> None:
    site.declare(service("fails", "echo out of ideas >&2; exit 3\n"))
    put(site, "fails", "in/a")
    (job,) = site.wait_jobs(1, service="fails")
    assert job["state"] == "failed"
    assert "3" in job["reason"]
    with site.client() as client:
        assert "out of ideas" in client.get(f"/v2/jobs/{job['id']}/log").text


def test_a_worker_that_loses_its_power_loses_no_file(site: Deployed) -> None:
    site.declare(service("slow", f"sleep 20; {COPY}"))
    for number in range(6):
        put(site, "slow", f"in/{number}")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        pods = site.kubectl("pods -n oscar-services -l oscar.fedcloud.eu/service=slow")["items"]
        if {pod["spec"].get("nodeName") for pod in pods if pod["status"]["phase"] == "Running"} == set(WORKERS):
            break
        time.sleep(1)
    site.machine("power-off", WORKERS[1])
    try:
        jobs = site.wait_jobs(6, timeout=600, service="slow")
    finally:
        site.machine("power-on", WORKERS[1])
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert len(jobs) == 6
    keys = [item["Key"] for item in site.s3().list_objects_v2(Bucket="slow", Prefix="out/")["Contents"]]
    assert sorted(keys) == [f"out/{number}" for number in range(6)]
    eventually(lambda: ready_nodes(site) == {FRONT, *WORKERS}, 120)  # the next tests look at the machine
