# SPDX-License-Identifier: Apache-2.0
"""The data folder of a standalone server."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

import oscar_fedcloud.standalone.data_dir as profile_module
from oscar_fedcloud.config import load
from oscar_fedcloud.standalone.data_dir import PORT, STORE_PORT, DataDir, ProfileError, Settings, Wanted, choose
from oscar_fedcloud.standalone.embedded_store import free_port


def test_a_new_folder_gets_its_own_keys_which_only_the_owner_reads(tmp_path: Path) -> None:
    profiles = [DataDir(tmp_path / name) for name in ("one", "two")]
    for profile in profiles:
        profile.prepare(Wanted(0, 0))
        for file in (profile.password_file, profile.secret_key_file, profile.access_key_file, profile.config_file):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(profile.folder.stat().st_mode) == 0o700
    for name in ("password_file", "secret_key_file", "access_key_file"):
        assert len({getattr(profile, name).read_text() for profile in profiles}) == 2


def test_the_invoker_accepts_the_configuration(tmp_path: Path) -> None:
    profile = DataDir(tmp_path / "data")
    settings = profile.prepare(Wanted(0, 0, "auto"))
    config = load(profile.config_file)
    assert config.listen == f"127.0.0.1:{settings.port}"
    assert config.admin_password == profile.password_file.read_text().strip()
    store = config.providers["minio.default"]
    assert (store.type, store.endpoint, store.root) == (
        "folder",
        f"http://127.0.0.1:{settings.store_port}",
        str(profile.store_folder),
    )
    assert store.secret_key == profile.secret_key_file.read_text().strip()
    assert config.launcher.container == "auto"
    assert config.data == profile.invoker_folder


def test_ports_are_the_usual_ones_unless_others_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_module, "becomes_free", lambda port: True)
    assert choose(Wanted(), None) == Settings(PORT, STORE_PORT, "never", 0)
    assert choose(Wanted(port=1234, container="auto"), None) == Settings(1234, STORE_PORT, "auto")
    known = Settings(1234, 5678, "auto")
    assert choose(Wanted(), known) == choose(Wanted(port=0, store_port=0), known) == known
    assert choose(Wanted(port=4321, container="never"), known) == Settings(4321, 5678, "never")


def test_a_port_in_use_is_an_error_or_replaced_if_any_port_will_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        known = Settings(port, free_port(), "never")
        for wanted in (Wanted(), Wanted(port=port)):
            with pytest.raises(ProfileError, match=f"port {port} is in use by another program.* --port "):
                choose(wanted, known)
        chosen = choose(Wanted(port=0), known)
    assert chosen.port != port
    assert chosen.store_port == known.store_port


def test_free_ports_are_picked_once_and_settings_are_remembered(tmp_path: Path) -> None:
    profile = DataDir(tmp_path / "data")
    first = profile.prepare(Wanted(0, 0, "auto"))
    assert len({first.port, first.store_port, PORT, STORE_PORT}) == 4
    keys = profile.secret_key_file.read_text()
    assert profile.prepare(Wanted(0, 0)) == profile.prepare(Wanted()) == profile.settings() == first
    assert profile.secret_key_file.read_text() == keys


def test_settings_agree_with_what_is_not_asked_for() -> None:
    settings = Settings(1, 2, "auto", 3)
    assert all(settings.agree(wanted) for wanted in (Wanted(), Wanted(0, 0), Wanted(1, 2, "auto", 3)))
    others = (Wanted(port=3), Wanted(store_port=1), Wanted(container="never"), Wanted(max_running=0))
    assert not any(settings.agree(wanted) for wanted in others)


def test_one_port_cannot_serve_both() -> None:
    port = free_port()
    with pytest.raises(ProfileError, match=f"both {port}"):
        choose(Wanted(port, port), None)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProfileError, match=f"{tmp_path}/file/data cannot be made: Not a directory"):
        DataDir(tmp_path / "file" / "data").prepare(Wanted(0, 0))


def edit(profile: DataDir, old: str, new: str) -> None:
    text = profile.config_file.read_text()
    assert old in text
    profile.config_file.write_text(text.replace(old, new))


def test_what_a_user_edits_in_the_configuration_stays_and_the_rest_follows(tmp_path: Path) -> None:
    profile = DataDir(tmp_path / "data")
    profile.prepare(Wanted(0, 0))
    edit(profile, "max_running: 0", "max_running: 7  # mine")
    profile.config_file.write_text(profile.config_file.read_text() + "reconcile_interval: 5.0\n")
    before = profile.config_file.read_bytes()
    assert profile.prepare(Wanted()).max_running == 7
    assert profile.config_file.read_bytes() == before, "comments stay too"
    assert profile.prepare(Wanted(container="auto")).max_running == 7
    config = load(profile.config_file)
    assert (config.launcher.max_running, config.reconcile_interval, config.launcher.container) == (7, 5.0, "auto")


def test_a_port_that_was_edited_in_the_configuration_is_the_servers_port(tmp_path: Path) -> None:
    profile = DataDir(tmp_path / "data")
    first = profile.prepare(Wanted(0, 0))
    port = free_port()
    edit(profile, f"127.0.0.1:{first.port}", f"127.0.0.1:{port}")
    assert profile.prepare(Wanted()).port == port
    assert profile.prepare(Wanted(port=0)).port == port


def test_a_configuration_of_an_older_version_is_made_again(tmp_path: Path) -> None:
    profile = DataDir(tmp_path / "data")
    profile.prepare(Wanted(0, 0))
    expected = profile.config_file.read_bytes()
    profile.generated_file.unlink()
    edit(profile, "  max_running: 0\n", "")
    profile.prepare(Wanted())
    assert profile.config_file.read_bytes() == expected


def test_nothing_is_made_for_settings_that_are_not_possible(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ProfileError):
        DataDir(tmp_path / "data").prepare(Wanted(port=other.getsockname()[1]))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("content", ["- a list", "key: [", "text"])
def test_a_damaged_configuration_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    profile = DataDir(tmp_path / "data")
    profile.prepare(Wanted(0, 0))
    profile.config_file.write_text(content)
    with pytest.raises(ProfileError, match=r"config\.yml"):
        profile.prepare(Wanted())
