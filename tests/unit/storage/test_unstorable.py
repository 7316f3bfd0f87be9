# SPDX-License-Identifier: Apache-2.0
"""Names that no store can hold are refused with the reason, not reported as a store that is away."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from oscar_fedcloud.api.errors import as_api_error
from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.storage.errors import WriteRefused
from oscar_fedcloud.storage.folder.store import FolderStore
from oscar_fedcloud.storage.object_keys import unstorable


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (" ", "blank"),
        ("", "blank"),
        ("x\udcff", "UTF-8"),
        ("a/" * 600 + "b", "1024"),
        ("é" * 128, "255"),
        ("a//b", "segment"),
        ("../a", "segment"),
        ("a\0b", "NUL"),
    ],
)
def test_why_a_key_cannot_be_stored(key: str, reason: str) -> None:
    assert reason in unstorable(key)


@pytest.mark.parametrize("key", ["a", " a", "a b", "é", "a" * 255, "a/" * 500 + "b", "\x01", "a\nb", "folder/"])
def test_every_other_key_can(key: str) -> None:
    assert unstorable(key) == ""


def test_a_folder_store_has_the_folders_of_inputs(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    config = ProviderConfig(type="folder", endpoint="http://127.0.0.1:9", root=str(tmp_path))
    store = FolderStore("minio.default", config)
    for _ in range(2):
        assert store.ensure_rules("data", ["in/", "deep/er/in/", ""]) is False
    assert (tmp_path / "data" / "in").is_dir()
    assert (tmp_path / "data" / "deep" / "er" / "in").is_dir()
    (tmp_path / "data" / "file").touch()
    with pytest.raises(WriteRefused, match="data/file is a file, but a service reads from the folder"):
        store.ensure_rules("data", ["file/"])


def test_a_folder_store_names_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "data" / "in" / "a.csv").touch()
    (tmp_path / "data" / "in" / "link.csv").symlink_to("a.csv")
    (tmp_path / "data" / "there").symlink_to("in")
    store = FolderStore("minio.default", ProviderConfig(type="folder", endpoint="http://x", root=str(tmp_path)))
    assert "data/in/link.csv is a symbolic link" in store.why("data", "in/link.csv")
    assert "data/there is a symbolic link" in store.why("data", "there/a.csv")


def test_a_folder_store_names_the_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "in").write_text("a file", encoding="utf-8")
    config = ProviderConfig(type="folder", endpoint="http://127.0.0.1:9", root=str(tmp_path))
    store = FolderStore("minio.default", config)
    for key, words in (("in/a/b.txt", "data/in is a file"), ("deep", "data/deep is a folder")):
        with pytest.raises(WriteRefused, match=words) as refused:
            store.put_file("data", key, io.BytesIO(b"x"), 1)
        assert as_api_error(refused.value).status == 422
