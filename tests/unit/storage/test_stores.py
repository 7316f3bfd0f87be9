# SPDX-License-Identifier: Apache-2.0
"""What providers do without a server, and what they say when one fails."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from oscar_fedcloud.config import Config, Hooks, ProviderConfig
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.registry import make_provider, make_providers


def config(kind: str = "s3", endpoint: str = "http://127.0.0.1:1", **settings: object) -> ProviderConfig:
    return ProviderConfig(type=kind, endpoint=endpoint, access_key="site-key", secret_key="site-secret", **settings)


def test_each_configured_store_gets_its_provider() -> None:
    stores = {"minio.default": config("minio", hooks=Hooks()), "s3.ceph": config("s3"), "minio.disk": config("folder")}
    providers = make_providers(Config(data_dir="/nowhere", providers=stores))
    assert [(name, one.id, one.polled, one.settle) for name, one in providers.items()] == [
        ("minio.default", "minio.default", False, 1),
        ("s3.ceph", "s3.ceph", True, 1),
        ("minio.disk", "minio.disk", True, 2),
    ]


def test_minio_without_targets_is_polled() -> None:
    assert make_provider("minio.default", config("minio")).polled


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:9000", "ftp://host", "http://", "http://host/path", "http://me:pw@host"]
)
def test_an_endpoint_must_be_a_url(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        make_provider("s3.ceph", config(endpoint=endpoint))


def test_a_polled_store_hands_on_the_key_of_the_fdl_or_of_the_site() -> None:
    provider = make_provider("s3.aws", config(shared_key=True))
    assert provider.ensure_credential(Service(name="svc"), None) == Credential("site-key", "site-secret")
    given = Service(name="svc", storage_providers={"s3": {"aws": {"access_key": "mine", "secret_key": "my-secret"}}})
    assert provider.ensure_credential(given, None) == Credential("mine", "my-secret")


@pytest.mark.parametrize("kind", ["minio", "s3", "folder"])
def test_a_store_that_is_away_is_named_and_no_secret_is_shown(kind: str) -> None:
    provider = make_provider("minio.far", config(kind))
    with pytest.raises(StoreError) as caught:
        list(provider.list(Prefix("bucket", "in/")))
    message = str(caught.value)
    assert "minio.far" in message
    assert "bucket bucket" in message
    assert "http://127.0.0.1:1" in message
    assert "site-secret" not in message
    assert provider.health()["ok"] is False


ODD_LISTING = b"""<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>in%2F..%2Fa</Key><Size>3</Size>
<LastModified>2026-11-24T06:20:23.696Z</LastModified><ETag>"abc"</ETag></Contents></ListBucketResult>"""


@pytest.fixture
def garbage_server() -> Iterator[str]:
    """A server that answers everything with something that is not S3."""
    yield from serving(http(b"<a>b"))


@pytest.fixture
def odd_server() -> Iterator[str]:
    """A server whose every answer is a listing of a key that cannot be a file."""
    yield from serving(http(ODD_LISTING))


@pytest.fixture
def starting_server() -> Iterator[str]:
    """A server that is not ready at first, and would rather be asked in an hour."""
    yield from serving(http(b"", "503 Service Unavailable", "Retry-After: 3600\r\n"), http(ODD_LISTING))


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n".encode() + body


def serving(*answers: bytes) -> Iterator[str]:
    """The endpoint of a server that gives these answers, and then the last one for ever."""
    rest = list(answers)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(rest.pop(0) if len(rest) > 1 else rest[0])

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.mark.parametrize("kind", ["minio", "s3", "folder"])
def test_an_answer_that_is_not_s3_is_a_provider_error(kind: str, garbage_server: str) -> None:
    provider = make_provider("minio.odd", config(kind, garbage_server))
    for ask in (lambda: list(provider.list(Prefix("bucket"))), lambda: provider.buckets()):
        with pytest.raises(StoreError, match=r"minio\.odd"):
            ask()


@pytest.mark.parametrize("kind", ["minio", "s3", "folder"])
def test_a_key_that_cannot_be_a_file_is_found_but_not_asked_for(kind: str, odd_server: str) -> None:
    provider = make_provider("minio.odd", config(kind, odd_server))
    stated = provider.stat("bucket", "in/../a")
    assert stated is not None
    assert (stated.key, stated.size, stated.depth) == ("in/../a", 3, 0)


def test_a_server_that_just_starts_is_soon_asked_again(starting_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    provider = make_provider("s3.site", config("s3", starting_server))
    assert len(list(provider.list(Prefix("bucket")))) == 1
    assert max(pauses, default=0.0) < 10
