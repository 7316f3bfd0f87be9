# SPDX-License-Identifier: Apache-2.0
"""The folder of declared services."""

from __future__ import annotations

from pathlib import Path

import pytest

from oscar_fedcloud.catalogue import folder_repository as store_module
from oscar_fedcloud.catalogue.folder_repository import Entry, FolderRepository, InputState
from oscar_fedcloud.domain.stores import Credential


def entry(revision: int, **document: object) -> Entry:
    inputs = {"minio.default/b/in/": InputState(1.5, True)}
    return Entry(name="s", revision=revision, created=1.0, changed=float(revision), document=document, inputs=inputs)


def test_entries_survive_and_revisions_are_kept(tmp_path: Path) -> None:
    store = FolderRepository(tmp_path / "services")
    for revision in (1, 2, 3):
        store.save(entry(revision, memory=f"{revision}Gi"))
    store.save(entry(3, memory="3Gi"))
    assert FolderRepository(tmp_path / "services").load() == [entry(3, memory="3Gi")]
    assert [kept.revision for kept in store.history("s")] == [2, 1]


def test_nobody_else_can_read(tmp_path: Path) -> None:
    store = FolderRepository(tmp_path / "services")
    store.save(entry(1, token="secret"))
    store.save_keys("s", {"minio.default": Credential("a", "b")})
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert store.keys("s") == {"minio.default": Credential("a", "b")}


def test_a_crash_while_writing_leaves_the_old_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderRepository(tmp_path / "services")
    store.save(entry(1, memory="1Gi"))

    def crash(descriptor: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(store_module.os, "fsync", crash)
    with pytest.raises(OSError, match="power cut"):
        store.save(entry(2, memory="2Gi"))
    assert FolderRepository(tmp_path / "services").load() == [entry(1, memory="1Gi")]


def test_removing_forgets_everything(tmp_path: Path) -> None:
    store = FolderRepository(tmp_path / "services")
    store.save(entry(1))
    store.save(entry(2))
    store.save_keys("s", {"minio.default": Credential("a", "b")})
    store.remove("s")
    assert (store.load(), store.history("s"), store.keys("s")) == ([], [], {})
