# SPDX-License-Identifier: Apache-2.0
"""A site is destroyed, and made again on fresh machines from its backup: under the release that upgrades start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployed import FRONT, WORKERS, Deployed
from versions import VERSIONS
from workloads import COPY, put, service

pytestmark = [pytest.mark.site, pytest.mark.full]


def test_a_destroyed_site_is_made_again_from_its_backup(site: Deployed, tmp_path: Path) -> None:
    site.declare(service("saved", COPY))
    put(site, "saved", "in/0")
    before = site.wait_jobs(1, service="saved")
    site.play("backup", backup_dest=str(tmp_path), backup_name="site")
    assert (tmp_path / "site.tar.gz").stat().st_mode & 0o077 == 0
    site.machine("reset", FRONT, *WORKERS)
    run = site.play(
        "restore", backup_file=str(tmp_path / "site.tar.gz"), kubernetes_version=VERSIONS["kubernetes-before"]
    )
    assert "no bucket of a service" in run.output
    assert site.jobs(service="saved") == before
    put(site, "saved", "in/1")
    jobs = site.wait_jobs(2, service="saved")
    assert {job["state"] for job in jobs} == {"succeeded"}
    log = site.ssh(FRONT, "cat /etc/oscar/secrets/admin-password")
    assert log.strip() == site.password
