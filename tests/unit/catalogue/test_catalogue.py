# SPDX-License-Identifier: Apache-2.0
"""The catalogue under changes that overlap."""

from __future__ import annotations

import asyncio
from pathlib import Path

from oscar_fedcloud.catalogue.catalogue import Catalogue
from oscar_fedcloud.catalogue.folder_repository import FolderRepository
from oscar_fedcloud.domain.services import Change
from oscar_fedcloud.fdl import Service, parse_service

INPUT = "minio.default/bucket/in/"


def service(memory: str) -> Service:
    document = {"name": "s", "image": "i", "script": "true", "memory": memory}
    return parse_service({**document, "input": [{"storage_provider": "minio", "path": "bucket/in"}]})


async def declare(catalogue: Catalogue, memory: str) -> None:
    change = Change(documents=(service(memory),))
    async with catalogue.changing:
        plan = catalogue.plan(change)
        catalogue.commit(plan, await asyncio.to_thread(catalogue.write, change, plan))


async def test_a_baseline_that_ends_during_an_update_undoes_nothing(tmp_path: Path) -> None:
    catalogue = Catalogue(FolderRepository(tmp_path), 16, ["minio.default"])
    await declare(catalogue, "1Gi")
    await asyncio.gather(declare(catalogue, "2Gi"), catalogue.mark_baselined("s", INPUT), declare(catalogue, "3Gi"))
    (stored,) = FolderRepository(tmp_path).load()
    assert stored == catalogue.entries["s"]
    assert (stored.revision, stored.document["memory"], stored.inputs[INPUT].baselined) == (3, "3Gi", True)


async def test_the_token_survives_updates_and_restarts(tmp_path: Path) -> None:
    catalogue = Catalogue(FolderRepository(tmp_path), 16, ["minio.default"])
    await declare(catalogue, "1Gi")
    (token,) = catalogue.tokens
    await declare(catalogue, "2Gi")
    again = Catalogue(FolderRepository(tmp_path), 16, ["minio.default"])
    again.load()
    assert catalogue.tokens == again.tokens == {token: "s"}


async def test_a_service_is_the_same_as_declared_and_as_read_from_its_repository(tmp_path: Path) -> None:
    rich = {
        "name": "rich",
        "image": "i",
        "script": "#!/bin/sh\n\ttrue\n",
        "memory": "1.5G",
        "cpu": "250m",
        "total_memory": "10Gi",
        "alpine": True,
        "input": [{"storage_provider": "minio", "path": "bucket/rich/", "suffix": [".a", ".b"], "prefix": ["x"]}],
        "output": [{"storage_provider": "minio", "path": "bucket/out"}],
        "environment": {"variables": {"N": "1.10", "EMPTY": ""}, "secrets": {"S": "x"}},
        "labels": {"a": "b"},
        "retry": {"attempts": 3, "backoff": "5s"},
    }
    catalogue = Catalogue(FolderRepository(tmp_path), 16, ["minio.default"])
    change = Change(documents=(parse_service(rich), service("1Gi")))
    plan = catalogue.plan(change)
    catalogue.commit(plan, await asyncio.to_thread(catalogue.write, change, plan))
    again = Catalogue(FolderRepository(tmp_path), 16, ["minio.default"])
    again.load()
    assert again.services == catalogue.services
