# SPDX-License-Identifier: Apache-2.0
"""No worker, then files: machines come, join by their own cloud-init, do the work, and go."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import cloud
import keys
import pytest
from deployed import FRONT, WORKERS, Deployed, changed
from parts.waiting import eventually
from run import write
from settings import CONTROLLER
from workloads import BUSYBOX, COPY, assert_each_once, put_many, service

pytestmark = [pytest.mark.site, pytest.mark.full]
COUNT = 40
SPARE = "worker4"
PROGRAM = f"""#!/bin/sh
exec ssh -i "$CLOUD_KEY" -p {cloud.PORT} -o BatchMode=yes \\
    -o UserKnownHostsFile=/etc/site-cloud/known_hosts root@{CONTROLLER} "$1"
"""
POOL = {
    "name": "small",
    "cloud": "here",
    "template": {},
    "capacity": {"cpu": "1900m", "memory": "4Gi"},
    "max": 2,
    "idle": 20,
    "startup_timeout": 120,
}


def variables(**changes: object) -> dict[str, object]:
    return {
        "site_autoscaler": True,
        "autoscaler_clouds": {
            "here": {
                "type": "command",
                "secret_files": {"CLOUD_KEY": "cloud-key"},
                **{name: ["/usr/local/bin/site-cloud", name] for name in cloud.PROGRAMS},
            }
        },
        "autoscaler_secrets": {"cloud-key": cloud.KEY.read_text()},
        "autoscaler_pools": [POOL],
        "autoscaler_settings": {"cloud_interval": 5},
        **changes,
    }


@pytest.fixture(scope="module", autouse=True)
def the_cloud(site: Deployed) -> Iterator[None]:
    """A front end that reaches a cloud, and nothing else."""
    for worker in WORKERS:
        site.machine("power-off", worker)
    site.machine("reset", FRONT)
    site.forget()
    site.machine("cloud", "up")
    known = f"[{CONTROLLER}]:{cloud.PORT} {keys.public(cloud.HOST_KEY)}"
    site.ssh(FRONT, f"mkdir -p /etc/site-cloud && echo {shlex.quote(known)} > /etc/site-cloud/known_hosts")
    program = shlex.quote(PROGRAM)
    site.ssh(FRONT, f"echo {program} > /usr/local/bin/site-cloud && chmod 755 /usr/local/bin/site-cloud")
    yield
    for name in list(cloud.machines()):
        site.machine("power-off", cloud.machines()[name]["host"])
    site.machine("cloud", "down")


def assert_nothing_is_left(site: Deployed) -> None:
    """The nodes went, and so did their machines and what was written down of them."""
    eventually(lambda: not cloud.machines(), 300)
    eventually(lambda: not site.kubectl("oscarmachines")["items"], 120)
    assert [node["metadata"]["name"] for node in site.kubectl("nodes")["items"]] == [FRONT]
    secrets = site.kubectl("secrets -n kube-system --field-selector=type=bootstrap.kubernetes.io/token")["items"]
    assert not [secret for secret in secrets if "oscar" in secret["metadata"].get("labels", {}).values()]


@pytest.fixture
def baked(site: Deployed) -> dict[str, object]:
    """An image that the playbook made of a spare machine, and what the site's variables say of it."""
    site.machine("reset", SPARE)
    site.play("bake_image", oscar_image=SPARE, oscar_image_pulls=[BUSYBOX])
    site.machine("power-off", "--orderly", SPARE)
    site.machine("image", SPARE, "baked")
    return variables(autoscaler_image_prepared=True, autoscaler_pools=[POOL | {"template": {"image": "baked"}}])


def process(site: Deployed, name: str) -> None:
    site.declare(service(name, f"sleep 5; {COPY}", cpu="0.5"))
    put_many(site, name, COUNT)
    assert_each_once(site, name, COUNT)
    pods = site.kubectl(f"pods -n oscar-services -l oscar.fedcloud.eu/service={name}")["items"]
    assert {pod["spec"]["nodeName"].rsplit("-", 1)[0] for pod in pods} == {"oscar-small"}


def test_a_site_without_workers_is_made(site: Deployed) -> None:
    site.play("site", "--limit", FRONT, **variables())
    assert changed(site.play("site", "--limit", FRONT, **variables())) == []


def test_machines_come_when_files_wait_and_go_when_nothing_runs(site: Deployed) -> None:
    process(site, "elastic")
    assert_nothing_is_left(site)


def test_a_machine_that_never_joins_is_replaced(site: Deployed) -> None:
    write(cloud.LOST, "1")
    process(site, "patient")
    assert cloud.LOST.read_text() == "0"
    assert_nothing_is_left(site)


def test_the_second_run_still_changes_nothing(site: Deployed) -> None:
    assert changed(site.play("site", "--limit", FRONT, **variables())) == []


def test_machines_of_a_baked_image_only_join(site: Deployed, baked: dict[str, object]) -> None:
    site.play("site", "--limit", FRONT, **baked)
    site.declare(service("quick", f"sleep 5; {COPY}", cpu="0.5"))
    put_many(site, "quick", COUNT)
    nodes = eventually(lambda: {node["metadata"]["name"] for node in site.kubectl("nodes")["items"]} - {FRONT}, 120)
    host = cloud.machines()[nodes.pop()]["host"]
    assert site.ssh(host, "find /var/log/dpkg.log -newer /etc/oscar-node/join.sh") == ""  # nothing was installed
    assert_each_once(site, "quick", COUNT)
    assert_nothing_is_left(site)
    assert changed(site.play("site", "--limit", FRONT, **baked)) == []
