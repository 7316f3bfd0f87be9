# SPDX-License-Identifier: Apache-2.0
"""The monitor's token reads figures and readiness, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import structs
from parts.api_invoker import PASSWORD, ApiInvoker, Client

from oscar_fedcloud.api.routes import ROUTES
from oscar_fedcloud.config import parse

TOKEN = "m0nitor"


@pytest.fixture
def watched(invoker: ApiInvoker) -> ApiInvoker:
    invoker.config = structs.replace(invoker.config, monitor_token=TOKEN)
    invoker.parts["ledger"] = {"ok": False, "detail": "the disk is full"}
    return invoker


async def test_it_reads_figures(watched: ApiInvoker, client: Client) -> None:
    monitor = client(token=TOKEN)
    for path in ("/metrics", "/v2/backlog"):
        assert (await monitor.get(path)).status_code == 200
    assert (await monitor.get("/readyz")).json()["parts"]["ledger"]["detail"] == "the disk is full"
    assert "the disk is full" not in (await client().get("/readyz")).text


async def test_it_reads_nothing_else_and_writes_nothing(watched: ApiInvoker, client: Client) -> None:
    monitor = client(token=TOKEN)
    for route in ROUTES:
        if route.kind in ("public", "figures"):
            continue
        answer = await monitor.request(route.method, re.sub(r"{\w+}", "x", route.template))
        assert answer.status_code == 403, route.template


@pytest.mark.parametrize("token", ["", "m0nitor ", "M0NITOR", "m0nito"])
async def test_another_token_is_nobody(watched: ApiInvoker, client: Client, token: str) -> None:
    answer = await client().get("/metrics", headers={"Authorization": f"Bearer {token}x"})
    assert answer.status_code == 401


async def test_without_a_token_there_is_no_monitor(invoker: ApiInvoker, client: Client) -> None:
    assert (await client().get("/metrics", headers={"Authorization": "Bearer "})).status_code == 401


def test_the_token_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    provider = {"type": "s3", "endpoint": "http://127.0.0.1:1"}
    settings = {"data_dir": str(tmp_path), "admin_password": PASSWORD, "providers": {"s3.default": provider}}
    assert parse({**settings, "monitor_token_file": str(tmp_path / "token")}).monitor_token == TOKEN
    assert parse(settings).monitor_token == ""
