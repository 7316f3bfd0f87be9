# SPDX-License-Identifier: Apache-2.0
"""Events of the real MinIO, and that its listings tell the same."""

from __future__ import annotations

import io
import json
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import boto3
import httpx
import pytest
from botocore.config import Config as BotoConfig
from minio import Minio
from minio.commonconfig import CopySource, SnowballObject, Tags
from minio.datatypes import PostPolicy
from minio.versioningconfig import VersioningConfig
from parts.listings import count_pages
from parts.minio import MinioServer
from parts.receiver import Delivery, Receiver

from oscar_fedcloud.config import Hooks, ProviderConfig
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.storage.minio.store import MinioStore
from oscar_fedcloud.storage.registry import make_provider

PART = 5 * 1024 * 1024
ODD_NAMES = [
    "plain.txt",
    "with space",
    " edges ",
    "a+b%c%41&=?#",
    "é\u0301ü-ß-日本",
    "new\nline",
    "carriage\rreturn",
    "tab\tand\x01control",
    "quotes\"'`",
    "$(id);|<>*?[]{}~^",
    "back\\slash",
    "trailing.",
    ".hidden",
    "..dots..",
    "\u201bquote\u240a\uff0f\uff0e",
    "-dash",
    "deep/er/name",
    "x" * 200,
]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def server(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    folder = tmp_path_factory.mktemp("minio")
    with MinioServer(folder, hooks=f"{receiver.url}/hooks/minio/minio.default") as running:
        yield running


@pytest.fixture(scope="module")
def provider(server: MinioServer) -> MinioStore:
    config = ProviderConfig(
        type="minio",
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        hooks=Hooks(),
    )
    made = make_provider("minio.default", config)
    assert isinstance(made, MinioStore)
    return made


@pytest.fixture(params=["never", "enabled", "suspended"])
def bucket(request: pytest.FixtureRequest, provider: MinioStore, server: MinioServer) -> str:
    """A bucket with our rule on ``in/``, in each state of versioning."""
    name = f"{request.param}-{uuid.uuid4().hex[:8]}"
    provider.ensure_bucket(name)
    client = server.client()
    if request.param != "never":
        client.set_bucket_versioning(name, VersioningConfig("Enabled"))
    if request.param == "suspended":
        client.put_object(name, "in/from-before", io.BytesIO(b"versioned"), 9)
        client.set_bucket_versioning(name, VersioningConfig("Suspended"))
    assert provider.ensure_rules(name, ["in/"])
    return name


def put(client: Minio, bucket: str, key: str, body: bytes = b"content") -> None:
    client.put_object(bucket, key, io.BytesIO(body), len(body))


def copy(client: Minio, bucket: str, key: str) -> None:
    put(client, bucket, "elsewhere/source")
    client.copy_object(bucket, key, CopySource(bucket, "elsewhere/source"))


def multipart(client: Minio, bucket: str, key: str) -> None:
    client.put_object(bucket, key, io.BytesIO(b"x" * (2 * PART + 1)), -1, part_size=PART)


def post(client: Minio, bucket: str, key: str) -> None:
    """A browser's upload form."""
    policy = PostPolicy(bucket, datetime.now(UTC) + timedelta(hours=1))
    policy.add_equals_condition("key", key)
    form = client.presigned_post_policy(policy) | {"key": key}
    url = client.presigned_get_object(bucket, "any").rpartition("/")[0]
    answer = httpx.post(url, data=form, files={"file": ("name", b"posted")})
    assert answer.status_code == 204, answer.text


def of_bucket(bucket: str) -> object:
    return lambda delivery: f'"{bucket}/'.encode() in delivery.body


def parsed(provider: MinioStore, deliveries: list[Delivery], way: str) -> list[StorageEvent]:
    return [event for one in deliveries if one.path.endswith(f"/{way}") for event in provider.parse(one.body)]


def identity(event: StorageEvent) -> tuple[str, str, str, int | None, str]:
    return (event.key, event.revision, event.version_id, event.size, event.etag)


def test_events_and_listing_agree(provider, server, receiver, bucket) -> None:
    uploads = {"in/put": put, "in/copy": copy, "in/post": post, "in/multipart": multipart}
    for key, upload in uploads.items():
        upload(server.client(), bucket, key)
    deliveries = receiver.wait(8, of_bucket(bucket))
    fast, durable = ({event.key: event for event in parsed(provider, deliveries, way)} for way in ("fast", "durable"))
    listed = {event.key: event for event in provider.list(Prefix(bucket, "in/"))}
    assert fast.keys() == durable.keys() == listed.keys() - {"in/from-before"} == uploads.keys()
    for key in uploads:
        stated = provider.stat(bucket, key)
        assert identity(fast[key]) == identity(durable[key]) == identity(listed[key]) == identity(stated)
        assert fast[key].order == durable[key].order <= listed[key].order < fast[key].order + 1_000_000


def test_only_the_current_object_is_listed(provider, server, receiver, bucket) -> None:
    client = server.client()
    for body in (b"one", b"two", b"two"):
        put(client, bucket, "in/again", body)
        time.sleep(0.002)  # the same content within one millisecond is the same revision
    put(client, bucket, "in/deleted")
    client.remove_object(bucket, "in/deleted")
    events = parsed(provider, receiver.wait(8, of_bucket(bucket)), "durable")
    again = [event for event in events if event.key == "in/again"]
    assert len({event.revision for event in again}) == 3
    listed = {event.key: event for event in provider.list(Prefix(bucket, "in/"))}
    assert listed.keys() - {"in/from-before"} == {"in/again"}
    assert listed["in/again"].revision == max(again, key=lambda event: event.order).revision
    assert provider.stat(bucket, "in/deleted") is None
    if "suspended" in bucket:
        assert listed["in/from-before"].version_id
        assert provider.stat(bucket, "in/from-before") == listed["in/from-before"]


def test_edits_of_tags_are_no_events(provider, server, receiver) -> None:
    provider.ensure_bucket("tagged")
    provider.ensure_rules("tagged", ["in/"])
    client = server.client()
    put(client, "tagged", "in/object")
    tags = Tags.new_object_tags()
    tags["name"] = "value"
    client.set_object_tags("tagged", "in/object", tags)
    put(client, "tagged", "in/last")
    receiver.wait(4, of_bucket("tagged"))
    keys = {event.key for event in parsed(provider, receiver.wait(4, of_bucket("tagged")), "fast")}
    assert keys == {"in/object", "in/last"}
    assert len([one for one in receiver.deliveries if b'"tagged/in/object"' in one.body]) == 2


def test_odd_names_come_through(provider, server, receiver) -> None:
    provider.ensure_bucket("odd")
    provider.ensure_rules("odd", ["in/"])
    s3 = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=BotoConfig(s3={"addressing_style": "path"}),
    )
    for name in ODD_NAMES:
        s3.put_object(Bucket="odd", Key=f"in/{name}", Body=name.encode(), Metadata={"oscar-depth": "2"})
    s3.put_object(Bucket="odd", Key="in/folder-marker/", Body=b"")
    s3.put_object(Bucket="odd", Key="outside/of-the-rule", Body=b"x")
    deliveries = receiver.wait(2 * len(ODD_NAMES) + 2, of_bucket("odd"), timeout=30)
    expected = {f"in/{name}" for name in ODD_NAMES}
    for way in ("fast", "durable"):
        events = {event.key: event for event in parsed(provider, deliveries, way)}
        assert events.keys() == expected
        assert {event.depth for event in events.values()} == {2}
    listed = {event.key: event for event in provider.list(Prefix("odd", "in/"))}
    assert listed.keys() == expected
    for key, event in listed.items():
        assert identity(event) == identity(events[key])
        stated = provider.stat("odd", key)
        assert (identity(stated), stated.depth) == (identity(event), 2)
        assert b"".join(provider.read("odd", key)) == key.removeprefix("in/").encode()


def test_the_record_of_a_listing_reads_like_that_of_an_event(provider, server, receiver) -> None:
    provider.ensure_bucket("records")
    provider.ensure_rules("records", ["in/"])
    put(server.client(), "records", "in/a b")
    (event,) = parsed(provider, receiver.wait(2, of_bucket("records")), "fast")
    (listed,) = provider.list(Prefix("records", "in/"))
    ours, theirs = json.loads(listed.record), json.loads(event.record)
    assert (ours["eventSource"], ours["eventName"]) == (theirs["eventSource"], theirs["eventName"])
    assert ours["s3"]["bucket"].items() <= theirs["s3"]["bucket"].items()
    for name in ("key", "size", "eTag"):
        assert ours["s3"]["object"][name] == theirs["s3"]["object"][name]
    assert urllib.parse.unquote_plus(ours["s3"]["object"]["key"]) == "in/a b"
    assert provider.parse(b'{"Records":[' + listed.record + b"]}")


def test_tokens_are_those_of_the_targets(provider, server, receiver) -> None:
    provider.ensure_bucket("tokens")
    provider.ensure_rules("tokens", [""])
    put(server.client(), "tokens", "anything")
    tokens = {one.path.rpartition("/")[2]: one.authorization for one in receiver.wait(2, of_bucket("tokens"))}
    assert tokens == {"fast": f"Bearer {server.fast_token}", "durable": f"Bearer {server.durable_token}"}


def test_what_we_store_ourselves_is_an_event_with_the_same_revision(provider, receiver) -> None:
    provider.ensure_bucket("bodies")
    provider.ensure_rules("bodies", [""])
    stored = provider.put("bodies", "svc/event-file-1", b"\x00body", depth=1)
    (event,) = parsed(provider, receiver.wait(2, of_bucket("bodies")), "fast")
    assert (identity(event), event.depth) == (identity(stored), 1)


def test_listings_of_many_objects_are_whole_or_begin_in_the_middle(provider, server, monkeypatch) -> None:
    provider.ensure_bucket("many")
    client = server.client()

    def fill(body: bytes) -> None:
        objects = [SnowballObject(f"in/{number:04}", data=io.BytesIO(body), length=len(body)) for number in range(1050)]
        client.upload_snowball_objects("many", objects)

    def behind(key: str) -> list[str]:
        return [event.key for event in provider.list(Prefix("many", "in/"), key)]

    fill(b"")
    assert len(list(provider.list(Prefix("many", "in/")))) == 1050
    pages = count_pages(monkeypatch)
    assert len(list(islice(provider.list(Prefix("many", "in/"), "in/0500", 11), 11))) == 11
    assert behind("in/0999") == [f"in/{number:04}" for number in range(1000, 1050)]
    assert pages == ["many", "many"]
    monkeypatch.undo()
    client.set_bucket_versioning("many", VersioningConfig("Enabled"))
    fill(b"again")
    listed = list(provider.list(Prefix("many", "in/")))
    assert [event.size for event in listed] == [5] * 1050
    assert provider.stat("many", "in/0500").version_id
    pages = count_pages(monkeypatch)
    assert behind("in/0999") == [f"in/{number:04}" for number in range(1000, 1050)]
    assert pages == ["many"]
