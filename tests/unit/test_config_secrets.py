# SPDX-License-Identifier: Apache-2.0
"""Where the secrets of the configuration are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from oscar_fedcloud.config import ConfigError, parse


def password(path: str | Path) -> str:
    return parse({"data_dir": "/data", "admin_password_file": str(path), "providers": {}}).admin_password


def test_a_relative_path_names_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "admin-password").write_text("handed over\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert password("admin-password") == "handed over"


def test_an_absolute_path_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("of a file")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/of/nobody")
    assert password(tmp_path / "password") == "of a file"


def test_without_systemd_a_relative_path_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("here")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert password("password") == "here"


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-file"):
        password(tmp_path / "no-such-file")
