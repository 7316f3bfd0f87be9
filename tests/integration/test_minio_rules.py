# SPDX-License-Identifier: Apache-2.0
"""Notification rules and buckets on the real MinIO."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest
from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig, SuffixFilterRule
from parts.minio import MinioServer
from parts.ports import free_port
from parts.receiver import Delivery, Receiver

from oscar_fedcloud.config import Hooks, ProviderConfig
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.storage.errors import BucketMissing, BucketNotEmpty, StoreError
from oscar_fedcloud.storage.minio.store import MinioStore
from oscar_fedcloud.storage.registry import make_provider

REGION = "valencia-1"
FAST, DURABLE, OTHER = (f"arn:minio:sqs:{REGION}:{name}:webhook" for name in ("oscarfast", "oscardurable", "other"))


@pytest.fixture(scope="module")
def audit() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def server(audit: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A server in a region of its own, with a third target, at which nobody listens, and a log of all requests."""
    hooks = f"http://127.0.0.1:{free_port()}"
    more = {
        "MINIO_NOTIFY_WEBHOOK_ENABLE_other": "on",
        "MINIO_NOTIFY_WEBHOOK_ENDPOINT_other": f"{hooks}/other",
        "MINIO_AUDIT_WEBHOOK_ENABLE_log": "on",
        "MINIO_AUDIT_WEBHOOK_ENDPOINT_log": f"{audit.url}/audit",
    }
    with MinioServer(tmp_path_factory.mktemp("minio"), hooks=hooks, region=REGION, environment=more) as running:
        yield running


def provider_of(server: MinioServer, hooks: Hooks | None) -> MinioStore:
    config = ProviderConfig(
        type="minio",
        endpoint=server.endpoint,
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=REGION,
        hooks=hooks,
    )
    made = make_provider("minio.default", config)
    assert isinstance(made, MinioStore)
    return made


@pytest.fixture(scope="module")
def provider(server: MinioServer) -> MinioStore:
    return provider_of(server, Hooks())


@pytest.fixture
def bucket(provider: MinioStore) -> str:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    provider.ensure_bucket(name)
    return name


def rules(server: MinioServer, bucket: str) -> list[tuple[str, str]]:
    found = server.client().get_bucket_notification(bucket).queue_config_list
    return sorted((rule.queue, rule.prefix_filter_rule.value if rule.prefix_filter_rule else "") for rule in found)


def test_rules_are_written_once(provider, server, bucket) -> None:
    assert provider.ensure_rules(bucket, ["in/", "in/deeper/", "other/"])
    assert rules(server, bucket) == [(DURABLE, "in/"), (DURABLE, "other/"), (FAST, "in/"), (FAST, "other/")]
    assert not provider.ensure_rules(bucket, ["other/", "in/"])
    assert provider.ensure_rules(bucket, ["in/"])
    assert provider.ensure_rules(bucket, [])
    assert rules(server, bucket) == []
    assert not provider.ensure_rules(bucket, [])


def test_what_is_right_already_is_not_written(provider, server, audit, bucket) -> None:
    def writes(delivery: Delivery) -> bool:
        return bucket in delivery.body.decode() and b"PutBucketNotification" in delivery.body

    for _ in range(3):
        provider.ensure_bucket(bucket)
        provider.ensure_rules(bucket, ["in/"])
    provider.ensure_rules(bucket, ["in/", "out/"])  # the log is in order: this one comes last
    assert len(audit.wait(2, writes)) == 2
    assert len([one for one in audit.deliveries if b"MakeBucket" in one.body and bucket.encode() in one.body]) <= 1


def test_a_whole_bucket_has_a_rule_without_filter(provider, server, bucket) -> None:
    assert provider.ensure_rules(bucket, ["", "in/"])
    assert rules(server, bucket) == [(DURABLE, ""), (FAST, "")]
    assert not provider.ensure_rules(bucket, [""])


def test_rules_of_others_stay(provider, server, bucket) -> None:
    events = ["s3:ObjectRemoved:Delete", "s3:ObjectAccessed:Get"]
    theirs = [
        QueueConfig(events, "theirs", PrefixFilterRule("in/"), SuffixFilterRule(".jpg"), queue=OTHER),
        QueueConfig(["s3:ObjectCreated:*"], "theirs too", queue=OTHER),
    ]
    server.client().set_bucket_notification(bucket, NotificationConfig(queue_config_list=theirs))

    def others() -> list[QueueConfig]:
        found = server.client().get_bucket_notification(bucket).queue_config_list
        return [rule for rule in found if rule.queue == OTHER]

    before = others()
    assert len(before) == 2
    provider.ensure_rules(bucket, ["in/"])
    assert others() == before
    provider.ensure_rules(bucket, [])
    assert others() == before


def test_a_rule_taken_away_by_hand_is_set_again(provider, server, bucket) -> None:
    provider.ensure_rules(bucket, ["in/"])
    server.client().delete_bucket_notification(bucket)
    assert provider.ensure_rules(bucket, ["in/"])
    assert len(rules(server, bucket)) == 2


def test_another_writer_in_between_is_overruled_but_not_undone(provider, server, bucket, monkeypatch) -> None:
    client = server.client()
    their_rule = QueueConfig(["s3:ObjectRemoved:Delete"], "theirs", queue=OTHER)
    write, written = provider._client.set_bucket_notification, threading.Event()

    def write_then_lose(name: str, config: NotificationConfig) -> None:
        write(name, config)
        if not written.is_set():  # someone who read before us writes after us
            written.set()
            client.set_bucket_notification(name, NotificationConfig(queue_config_list=[their_rule]))

    monkeypatch.setattr(provider._client, "set_bucket_notification", write_then_lose)
    assert provider.ensure_rules(bucket, ["in/"])
    assert rules(server, bucket) == [(DURABLE, "in/"), (FAST, "in/"), (OTHER, "")]


def test_what_the_store_does_not_take_is_an_error_that_names_the_bucket(provider, bucket) -> None:
    with pytest.raises(StoreError, match=bucket):
        provider.ensure_rules(bucket, ["in/\x01/"])


def test_a_server_that_just_starts_and_hides_its_rules_is_not_written_to(provider, server, bucket, monkeypatch) -> None:
    provider.ensure_rules(bucket, ["in/"])
    before = rules(server, bucket)
    with monkeypatch.context() as starting:  # it does not know its targets yet
        starting.setattr(provider._client, "get_bucket_notification", lambda _: NotificationConfig())
        starting.setattr(provider._admin, "info", lambda: "{}")
        with pytest.raises(StoreError, match="no webhook target"):
            provider.ensure_rules(bucket, ["in/", "more/"])
    assert rules(server, bucket) == before
    assert provider.ensure_rules(bucket, ["in/", "more/"])


def test_targets_must_be_there(server, bucket) -> None:
    provider = provider_of(server, Hooks(fast="no-such-target"))
    with pytest.raises(StoreError, match="no-such-target"):
        provider.ensure_rules(bucket, ["in/"])


def test_a_polled_minio_gets_no_rules(server, bucket) -> None:
    provider = provider_of(server, None)
    assert not provider.ensure_rules(bucket, ["in/"])
    assert rules(server, bucket) == []


def test_buckets_are_made_once_and_deleted_only_when_empty_or_told_so(provider, server) -> None:
    assert provider.ensure_bucket("fresh")
    assert not provider.ensure_bucket("fresh")
    assert "fresh" in provider.buckets()
    provider.put("fresh", "in/a", b"x")
    with pytest.raises(BucketNotEmpty):
        provider.delete_bucket("fresh", data=False)
    assert [event.key for event in provider.list(Prefix("fresh"))] == ["in/a"]
    provider.delete_bucket("fresh", data=True)
    assert "fresh" not in provider.buckets()


def test_a_bucket_that_is_missing_is_named(provider) -> None:
    for ask in (
        lambda: list(provider.list(Prefix("missing-one"))),
        lambda: provider.ensure_rules("missing-one", ["in/"]),
        lambda: provider.put("missing-one", "key", b""),
        lambda: provider.delete_bucket("missing-one", data=False),
        lambda: provider.delete_bucket("missing-one", data=True),
    ):
        with pytest.raises(BucketMissing, match="missing-one"):
            ask()
    assert provider.stat("missing-one", "key") is None
    assert provider.read("missing-one", "key") is None


def test_standing_and_time(provider, server) -> None:
    assert provider.health() == {"ok": True, "detail": ""}
    stat = (server.folder / "data").stat()
    assert abs(provider.clock() - stat.st_atime) < 3600
    wrong = ProviderConfig(type="minio", endpoint=server.endpoint, access_key="nobody", secret_key="x" * 12)
    answer = make_provider("minio.default", wrong, "logs").health()
    assert answer["ok"] is False
    assert "minio.default" in answer["detail"]
