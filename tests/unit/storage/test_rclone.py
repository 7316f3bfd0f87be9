# SPDX-License-Identifier: Apache-2.0
"""How rclone is told about a store, and how it writes keys."""

from __future__ import annotations

import pytest

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.storage.rclone import rclone_path
from oscar_fedcloud.storage.registry import make_provider


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("in/plain file.txt", "in/plain file.txt"),
        ("in/new\nline", "in/new\u240aline"),
        ("in/picture \u240a of a newline", "in/picture \u201b\u240a of a newline"),
        ("in/\u201bquoted", "in/\u201b\u201bquoted"),
        ("in/wide\uff0fslash", "in/wide\u201b\uff0fslash"),
        ("\uff0e/\uff0e\uff0e/a\uff0e", "\u201b\uff0e/\u201b\uff0e\u201b\uff0e/a\uff0e"),
        ("in/\x7f", "in/\u2421"),
        ("in/$(id)", "in/$(id)"),
    ],
)
def test_keys_in_the_form_of_rclone(key: str, path: str) -> None:
    assert rclone_path(key) == path


def environment(**settings: object) -> dict[str, str]:
    config = ProviderConfig(endpoint="http://127.0.0.1:9000", **settings)
    return make_provider("minio.default", config).rclone_env("store", Credential("the-key", "the-secret"))


def test_the_remote_has_the_given_key_and_may_not_create_buckets() -> None:
    found = environment(type="minio", access_key="root", secret_key="root-secret", region="eu")
    assert found["RCLONE_CONFIG_STORE_TYPE"] == "s3"
    assert found["RCLONE_CONFIG_STORE_PROVIDER"] == "Minio"
    assert found["RCLONE_CONFIG_STORE_ACCESS_KEY_ID"] == "the-key"
    assert found["RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY"] == "the-secret"
    assert found["RCLONE_CONFIG_STORE_ENDPOINT"] == "http://127.0.0.1:9000"
    assert found["RCLONE_CONFIG_STORE_REGION"] == "eu"
    assert found["RCLONE_CONFIG_STORE_NO_CHECK_BUCKET"] == "true"
    assert "root-secret" not in repr(found)


def test_certificates() -> None:
    assert not [name for name in environment(type="s3") if name.startswith("OSCAR_")]
    assert environment(type="s3", verify="/etc/ssl/site.pem")["OSCAR_CA_store"] == "/etc/ssl/site.pem"
    assert environment(type="s3", verify=False)["OSCAR_UNVERIFIED_store"] == "1"
