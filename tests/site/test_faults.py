# SPDX-License-Identifier: Apache-2.0
"""Parts of a busy site die and come back, and machines come and go."""

from __future__ import annotations

import pytest
from deployed import FRONT, WORKERS, Deployed
from workloads import COPY, assert_each_once, put, put_many, service

pytestmark = [pytest.mark.site, pytest.mark.full]


def test_invoker_and_store_are_killed(site: Deployed) -> None:
    site.declare(service("killed", f"sleep 3; {COPY}"))
    put_many(site, "killed", 20)
    for unit in ("oscar-invoker", "minio"):
        site.ssh(FRONT, f"systemctl kill --signal=KILL {unit}")
    assert_each_once(site, "killed", 20)


def test_the_front_end_reboots(site: Deployed) -> None:
    site.declare(service("rebooted", f"sleep 3; {COPY}"))
    put_many(site, "rebooted", 10)
    site.ssh(FRONT, "systemctl reboot", must=False)
    assert_each_once(site, "rebooted", 10)


def test_a_worker_leaves_and_joins_while_files_wait(site: Deployed) -> None:
    site.declare(service("moving", f"sleep 5; {COPY}"))
    put_many(site, "moving", 20)
    site.play("remove_worker", oscar_worker=WORKERS[1])
    assert {node["metadata"]["name"] for node in site.kubectl("nodes")["items"]} == {FRONT, WORKERS[0]}
    site.machine("reset", WORKERS[1])
    site.play("workers", oscar_workers=WORKERS[1])
    assert {node["metadata"]["name"] for node in site.kubectl("nodes")["items"]} == {FRONT, *WORKERS}
    assert_each_once(site, "moving", 20)


def test_secrets_are_rotated_while_files_come(site: Deployed) -> None:
    site.declare(service("rotated", COPY))
    before = site.ssh(FRONT, "cat /etc/minio/secrets/webhook-tokens")
    put(site, "rotated", "in/0")
    site.play("rotate_secrets")
    put(site, "rotated", "in/1")
    assert site.ssh(FRONT, "cat /etc/minio/secrets/webhook-tokens") != before
    assert_each_once(site, "rotated", 2)
    assert {job["via"] for job in site.jobs(service="rotated")} == {"fast"}
