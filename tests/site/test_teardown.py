# SPDX-License-Identifier: Apache-2.0
"""A site is taken apart: asked first, its data kept unless told otherwise."""

from __future__ import annotations

import pytest
from deployed import FRONT, WORKERS, Deployed

pytestmark = [pytest.mark.site, pytest.mark.full]
UNITS = "kubelet minio caddy oscar-invoker"


def test_it_asks_first(site: Deployed) -> None:
    run = site.play("teardown", teardown_confirm="no", must=False)
    assert run.code != 0
    assert "Nothing was done" in run.output
    assert site.kubectl("nodes")["items"]


def test_the_data_stays(site: Deployed) -> None:
    site.play("teardown", teardown_confirm="yes")
    for host in (FRONT, *WORKERS):
        assert "active\n" not in site.ssh(host, f"systemctl is-active {UNITS}", must=False).replace("inactive", "")
        assert "table inet oscar" not in site.ssh(host, "nft list tables")
    assert "saved" in site.ssh(FRONT, "ls /var/lib/minio/data")
    site.play("teardown", teardown_confirm="yes")


def test_it_goes_when_told(site: Deployed) -> None:
    site.play("teardown", teardown_confirm="yes", teardown_data="delete")
    assert site.ssh(FRONT, "ls /var/lib/minio/data 2>/dev/null", must=False) == ""
