# SPDX-License-Identifier: Apache-2.0
"""Every call that only a start makes fails, in turn: the start ends with its words, and leaves nothing half open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from parts.fault_walk import ENDS_START, healthy
from parts.memory_site import Site, Unexpected, on_memory_site
from structlog.testing import capture_logs

from oscar_fedcloud.catalogue.folder_repository import FolderRepository
from oscar_fedcloud.cli import invoker
from oscar_fedcloud.config import Config, LauncherConfig, ProviderConfig
from oscar_fedcloud.daemon import program
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.storage.s3.store import S3Store

PARTS: dict[str, type] = {"ledger": Ledger, "catalogue": FolderRepository, "store": S3Store}
# What was opened before an error comes back can be closed by nobody.
WALKED = [
    (call, kind)
    for call in sorted(ENDS_START)
    for kind in ("before", "after")
    if (call, kind) != ("ledger.open", "after")
]


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.mark.parametrize(("call", "kind"), WALKED)
def test_a_start_that_fails_leaves_nothing_half_open(
    call: str, kind: Literal["before", "after"], tmp_path: Path
) -> None:
    async def story(site: Site) -> None:
        await site.declare("steady")
        await site.ready("steady")
        await site.stop()
        if call == "ledger.accept":  # of a new site only
            site = Site(tmp_path / "new", site.loop)
            site.folder.mkdir()
        before = asyncio.all_tasks()
        fault = site.gates.set(call, kind)
        with pytest.raises(Unexpected, match=call):
            await site.start()
        assert fault.hits == 1
        if site.begun:
            await site.stop()
        assert asyncio.all_tasks() == before
        assert not open_files(site.folder)
        site.gates.lift()
        await site.start()
        await site.declare("steady")
        await healthy(site)
        await site.stop()
        assert not open_files(site.folder)

    on_memory_site(tmp_path, story)


@pytest.mark.parametrize("call", sorted(ENDS_START))
def test_a_start_that_fails_says_so_in_one_sentence(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part, _, name = call.partition(".")
    monkeypatch.setattr(PARTS[part], name, failing(call))
    config = Config(
        data_dir=str(tmp_path),
        listen="127.0.0.1:0",
        admin_password="secret",
        providers={"minio.default": ProviderConfig(type="s3", endpoint="http://127.0.0.1:9")},
        launcher=LauncherConfig(),
    )
    assert program.run(invoker.make_program(config)) == 1
    assert capsys.readouterr().err == f"oscar-invoker: cannot run: Unexpected: {call}\n"
    assert not open_files(tmp_path)


def failing(call: str) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise Unexpected(call)

    return fail


def open_files(folder: Path) -> list[str]:
    """Files below a folder that this process holds open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:  # closed meanwhile
            continue
        if target.startswith(f"{folder}/"):
            found.append(target)
    return found
