# SPDX-License-Identifier: Apache-2.0
"""A store of type s3 gives each service a key of its own where it can; the site's key is handed out only with leave."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from minio.error import S3Error
from parts.hostile_s3 import HostileS3, listing
from parts.minio import MinioServer
from parts.rclone_s3 import RcloneS3

from oscar_fedcloud.config import ConfigError, ProviderConfig
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Input, Service
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.registry import check_keys, make_provider

SERVICE = Service(name="svc", input=(Input(storage_provider="s3.site", path="data/in"),))


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with MinioServer(tmp_path_factory.mktemp("minio")) as server:
        server.client().make_bucket("data")
        server.client().make_bucket("other")
        yield server


@pytest.fixture(scope="module")
def rclone() -> Iterator[RcloneS3]:
    with RcloneS3() as server:
        yield server


def store(server: MinioServer | RcloneS3, shared: bool = False) -> ObjectStore:
    settings = ProviderConfig(
        type="s3",
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        shared_key=shared,
    )
    return make_provider("s3.site", settings)


def test_a_minio_behind_type_s3_makes_a_key_that_is_limited_to_the_service(minio: MinioServer) -> None:
    provider = store(minio)
    check_keys({"s3.site": provider})
    made = provider.ensure_credential(SERVICE, Credential(minio.access_key, minio.secret_key))
    assert made.access_key != minio.access_key
    assert provider.ensure_credential(SERVICE, made) == made
    client = minio.client(made.access_key, made.secret_key)
    assert list(client.list_objects("data", prefix="in/")) == []
    with pytest.raises(S3Error, match="AccessDenied"):
        list(client.list_objects("other"))
    provider.drop_credential(made)
    with pytest.raises(S3Error, match="InvalidAccessKeyId"):
        list(client.list_objects("data", prefix="in/"))


def test_keys_that_were_not_made_here_are_never_removed(minio: MinioServer) -> None:
    provider = store(minio)
    answer = minio.admin().add_service_account(description="a person's own")
    given = yaml.safe_load(answer)["credentials"]
    provider.drop_credential(Credential(given["accessKey"], given["secretKey"]))
    provider.drop_credential(Credential(minio.access_key, minio.secret_key))
    provider.drop_credential(Credential("unknown", "unknown-secret"))
    minio.client(given["accessKey"], given["secretKey"]).list_buckets()
    minio.client().list_buckets()


def test_a_store_that_makes_no_keys_needs_leave(rclone: RcloneS3) -> None:
    with pytest.raises(ConfigError, match=r"providers\.s3\.site: .*shared_key: true"):
        check_keys({"s3.site": store(rclone)})
    with pytest.raises(StoreError, match="shared_key: true"):
        store(rclone).ensure_credential(SERVICE, None)
    allowed = store(rclone, shared=True)
    check_keys({"s3.site": allowed})
    assert allowed.ensure_credential(SERVICE, None).access_key == rclone.access_key


@pytest.mark.parametrize("fault", ["garbage", "gzip", "redirect", "empty"])
def test_an_answer_that_is_none_of_minio_means_that_there_are_no_keys(fault: str) -> None:
    with HostileS3(fault) as server:
        settings = ProviderConfig(type="s3", endpoint=server.endpoint, access_key="a", secret_key="secret-key")
        provider = make_provider("s3.site", settings)
        with pytest.raises(StoreError):
            provider.ensure_credential(SERVICE, None)


def test_a_store_that_is_away_is_asked_later() -> None:
    settings = ProviderConfig(type="s3", endpoint="http://127.0.0.1:1", access_key="a", secret_key="secret-key")
    check_keys({"s3.site": make_provider("s3.site", settings)})


def test_the_key_of_the_fdl_is_used_as_it_is(rclone: RcloneS3) -> None:
    given = {"s3": {"site": {"access_key": "mine", "secret_key": "my-secret"}}}
    made = store(rclone).ensure_credential(Service(name="svc", storage_providers=given), None)
    assert made == Credential("mine", "my-secret")


def test_the_invoker_refuses_the_configuration_in_one_sentence(tmp_path: Path) -> None:
    with HostileS3([listing()]) as server:
        config = {
            "data_dir": str(tmp_path / "data"),
            "admin_password": "secret-password",
            "providers": {
                "s3.site": {
                    "type": "s3",
                    "endpoint": server.endpoint,
                    "access_key": "a",
                    "secret_key": "secret-key",
                }
            },
        }
        (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "oscar_fedcloud.cli.invoker", "--config", str(tmp_path / "config.yml")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "providers.s3.site" in ended.stderr
    assert "shared_key: true" in ended.stderr
    assert "secret-key" not in ended.stderr
    assert "Traceback" not in ended.stderr
