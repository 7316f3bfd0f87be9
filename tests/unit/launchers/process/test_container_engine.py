# SPDX-License-Identifier: Apache-2.0
"""A launcher that requires containers is ready only while their engine answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts.waiting import eventually

import oscar_fedcloud.launchers.process.container_engine as engine_module
import oscar_fedcloud.launchers.process.launcher as process_module
from oscar_fedcloud.config import LauncherConfig
from oscar_fedcloud.launchers.process.container import Engine
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher


async def test_readiness_follows_the_engine_where_containers_are_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Engine | str] = ["docker does not work"]
    monkeypatch.setattr(process_module, "find_engine", lambda: found[0])
    monkeypatch.setattr(engine_module, "_LIFE", 0.0)
    launcher = ProcessLauncher(tmp_path, LauncherConfig(container="require"))
    assert not launcher.health()["ok"]
    eventually(lambda: "docker does not work" in launcher.health()["detail"])
    found[0] = Engine("docker", "/usr/bin/docker")
    eventually(lambda: launcher.health()["ok"])
    found[0] = "docker is gone"
    eventually(lambda: "docker is gone" in launcher.health()["detail"])
    for container in ("auto", "never"):
        assert ProcessLauncher(tmp_path, LauncherConfig(container=container)).health()["ok"]
