# SPDX-License-Identifier: Apache-2.0
"""The key of a service on the real MinIO: what it opens, what it does not, and staging by the real rclone with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError
from parts.minio import MinioServer
from parts.rclone_s3 import rclone_binary

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Input, Output, Service
from oscar_fedcloud.storage.minio.store import MinioStore
from oscar_fedcloud.storage.rclone import rclone_path
from oscar_fedcloud.storage.registry import make_provider

ODD_NAMES = [
    "plain.txt",
    "new\nline",
    "carriage\rreturn",
    "control\x01\x7f",
    "quotes\"'`",
    "$(id);&|<>*?[]{}",
    "a+b%c%41#",
    " edges ",
    "trailing.",
    ".hidden",
    "--flag",
    "back\\slash",
    "e\u0301",
    "\u201b",
    "\u201b\u201bFF",
    "\u240a is no newline",
    "\u201b\u240a",
    "wide\uff0fslash",
    "\uff0e",
    "\uff0e\uff0e",
    "deep/er/\uff0e/name",
]


def make_service(output: str = "out") -> Service:
    return Service(
        name="svc",
        input=(Input(storage_provider="minio.default", path="data/in"),),
        output=(Output(storage_provider="minio.default", path=f"data/{output}"),),
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with MinioServer(tmp_path_factory.mktemp("minio")) as running:
        yield running


@pytest.fixture(scope="module")
def provider(server: MinioServer) -> MinioStore:
    config = ProviderConfig(
        type="minio", endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key
    )
    made = make_provider("minio.default", config, "logs", "internal")
    assert isinstance(made, MinioStore)
    for bucket in ("data", "logs", "internal", "foreign"):
        made.ensure_bucket(bucket)
    for bucket, key in OBJECTS:
        made.put(bucket, key, b"content")
    return made


OBJECTS = [
    ("data", "in/object"),
    ("data", "out/object"),
    ("data", "inside/object"),
    ("data", "other/object"),
    ("foreign", "in/object"),
    ("logs", "svc/job.log"),
    ("logs", "svc2/job.log"),
    ("internal", "svc/event-file-1"),
    ("internal", "svc2/event-file-1"),
]


@pytest.fixture(scope="module")
def key(provider: MinioStore) -> Credential:
    return provider.ensure_credential(make_service(), None)


def client(server: MinioServer, key: Credential) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
        region_name="us-east-1",
        config=BotoConfig(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def allowed(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise
        return False
    return True


def opened(s3: Any, method: str, **more: Any) -> set[tuple[str, str]]:
    """Those of OBJECTS for which an operation is allowed."""
    return {
        (bucket, name)
        for bucket, name in OBJECTS
        if allowed(lambda bucket=bucket, name=name: getattr(s3, method)(Bucket=bucket, Key=name, **more))
    }


def test_it_reads_and_writes_what_is_its_own(server, key) -> None:
    s3 = client(server, key)
    own = {("data", "out/object"), ("logs", "svc/job.log")}
    readable = own | {("data", "in/object"), ("internal", "svc/event-file-1")}
    assert opened(s3, "get_object") == opened(s3, "head_object") == readable
    assert opened(s3, "put_object", Body=b"content") == own
    assert opened(s3, "create_multipart_upload") == own


def test_it_lists_its_own_folders_only(server, key) -> None:
    s3 = client(server, key)
    listed = {
        (bucket, prefix)
        for bucket in ("data", "foreign", "logs", "internal")
        for prefix in ("", "in/", "out/", "in", "inside/", "other/", "svc/", "svc2/")
        if allowed(lambda bucket=bucket, prefix=prefix: s3.list_objects_v2(Bucket=bucket, Prefix=prefix))
    }
    assert listed == {("data", "in/"), ("data", "out/"), ("logs", "svc/"), ("internal", "svc/")}
    assert "foreign" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}


def test_it_deletes_nothing_and_changes_no_bucket(server, key) -> None:
    s3 = client(server, key)
    assert opened(s3, "delete_object") == set()
    assert not allowed(lambda: s3.create_bucket(Bucket="fresh"))
    assert not allowed(lambda: s3.delete_bucket(Bucket="data"))
    assert not allowed(lambda: s3.get_bucket_notification_configuration(Bucket="data"))
    assert not allowed(lambda: s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"}))
    assert allowed(lambda: s3.get_bucket_location(Bucket="data"))


def test_the_key_stays_while_the_service_does(provider, server) -> None:
    key = provider.ensure_credential(make_service(), None)
    assert provider.ensure_credential(make_service(), key) == key
    assert provider.ensure_credential(make_service(output="results"), key) == key
    s3 = client(server, key)
    assert allowed(lambda: s3.put_object(Bucket="data", Key="results/object", Body=b"x"))
    assert not allowed(lambda: s3.put_object(Bucket="data", Key="out/object", Body=b"x"))


def test_a_key_that_someone_widened_or_switched_off_is_set_right(provider, server) -> None:
    key = provider.ensure_credential(make_service(), None)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}
    server.admin().update_service_account(access_key=key.access_key, policy=everything, status="disabled")
    assert provider.ensure_credential(make_service(), key) == key
    s3 = client(server, key)
    assert allowed(lambda: s3.get_object(Bucket="data", Key="in/object"))
    assert not allowed(lambda: s3.get_object(Bucket="foreign", Key="in/object"))


def test_a_key_that_is_gone_is_replaced(provider, server) -> None:
    key = provider.ensure_credential(make_service(), None)
    provider.drop_credential(key)
    provider.drop_credential(key)
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        client(server, key).get_object(Bucket="data", Key="in/object")
    fresh = provider.ensure_credential(make_service(), key)
    assert fresh.access_key != key.access_key
    assert allowed(lambda: client(server, fresh).get_object(Bucket="data", Key="in/object"))


def test_secrets_are_not_shown(key) -> None:
    assert key.secret_key not in repr(key)


# -- staging by rclone -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rclone(provider: MinioStore, key: Credential) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs rclone with the service's key and nothing else."""
    environment = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null", **provider.rclone_env("store", key)}
    assert provider.config.secret_key not in environment.values()

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(rclone_binary()), "--retries", "1", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)

    return run


def test_odd_names_are_staged_in(provider, rclone, tmp_path: Path) -> None:
    for number, name in enumerate(ODD_NAMES):
        provider.put("data", f"in/{name}", f"content {number}".encode())
        target = tmp_path / str(number)
        done = rclone("copyto", f"store:data/{rclone_path(f'in/{name}')}", str(target))
        assert (done.returncode, done.stderr) == (0, b""), name
        assert target.read_text() == f"content {number}", name


def test_odd_names_are_staged_out_once_with_their_depth(provider, rclone, tmp_path: Path) -> None:
    for name in ODD_NAMES:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    depth = ("--header-upload", "x-amz-meta-oscar-depth: 3")
    command = ("copy", "--checksum", *depth, str(tmp_path / "files"), "store:data/out/odd/")
    done = rclone(*command)
    assert (done.returncode, done.stderr) == (0, b"")
    first = {event.key: event for event in provider.list(Prefix("data", "out/odd/"))}
    assert first.keys() == {f"out/odd/{name}" for name in ODD_NAMES}
    assert provider.stat("data", "out/odd/new\nline").depth == 3
    assert rclone(*command).returncode == 0
    assert {event.key: event for event in provider.list(Prefix("data", "out/odd/"))} == first


def test_large_files_are_staged_in_parts(provider, rclone, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(11 * 1024 * 1024))
    parts = ("--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M", "--header-upload", "x-amz-meta-oscar-depth: 1")
    done = rclone("copyto", *parts, str(large), "store:data/out/large")
    assert (done.returncode, done.stderr) == (0, b"")
    stored = provider.stat("data", "out/large")
    assert (stored.size, stored.depth, stored.etag[-2:]) == (11 * 1024 * 1024, 1, "-3")
    assert rclone("copyto", "store:data/out/large", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("place", ["data/in/object", "data/other/object", "foreign/in/object", "logs/svc2/job.log"])
def test_rclone_writes_nowhere_else(provider, rclone, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    assert rclone("copyto", str(tmp_path / "file"), f"store:{place}").returncode != 0
    bucket, _, name = place.partition("/")
    assert b"".join(provider.read(bucket, name)) == b"content"


def test_no_folder_markers_are_written(provider, server) -> None:
    names = [row.object_name for row in server.client().list_objects("data", recursive=True)]
    assert [name for name in names if name.endswith("/")] == []
