# SPDX-License-Identifier: Apache-2.0
"""Read event records of S3 notifications from MinIO and AWS, and write records for objects found without an event.

Format: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from oscar_fedcloud.domain.events import BadEvent, Origin, StorageEvent
from oscar_fedcloud.domain.jsontext import to_json
from oscar_fedcloud.storage.bounds import (
    LONGEST_RECORD,
    checked_bucket,
    checked_key,
    checked_name,
    checked_sequencer,
    checked_size,
    order_of,
)
from oscar_fedcloud.storage.object_keys import decode_key, depth_of, encode_key
from oscar_fedcloud.storage.revision import revision_of_event
from oscar_fedcloud.storage.rows import Row

# Events of new objects. An edit of tags also fires ObjectCreated:*, with the sequencer of the old content.
CREATIONS = (
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
)
_CREATIONS = frozenset(CREATIONS) | {name.removeprefix("s3:") for name in CREATIONS}  # AWS leaves "s3:" out


class S3Bucket(msgspec.Struct):
    """``Records[].s3.bucket``"""

    name: str


class S3Object(msgspec.Struct, rename={"etag": "eTag", "version_id": "versionId", "metadata": "userMetadata"}):
    """``Records[].s3.object``; the key is query-escaped."""

    key: str
    size: int | None = None
    etag: str = ""
    version_id: str = ""
    sequencer: str = ""
    metadata: Any = None  # a mapping; only the depth is used


class S3Part(msgspec.Struct):
    """``Records[].s3``"""

    bucket: S3Bucket
    object: S3Object


class S3Record(msgspec.Struct, rename={"name": "eventName", "time": "eventTime"}):
    """``Records[]``"""

    s3: S3Part
    name: str = ""
    time: str = ""

    @property
    def creates(self) -> bool:
        """Return whether it announces a new object. A record without a name, as written by hand, does."""
        return not self.name or self.name in _CREATIONS


class S3Notification(msgspec.Struct, rename={"records": "Records"}):
    """A notification body. The records are kept unchanged, for scripts and filters."""

    records: list[msgspec.Raw]


_notification = msgspec.json.Decoder(S3Notification)
_record = msgspec.json.Decoder(S3Record)


def parse_notification(provider_id: str, body: bytes, via: Origin) -> list[StorageEvent]:
    """Return all new objects in a MinIO notification. Records of other events are ignored.

    Raises BadEvent with the events of the valid records.
    """
    try:
        body.decode()  # the decoder validates only the text of fields that it reads
        records = _notification.decode(body).records
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadEvent(f"not a notification of storage provider {provider_id}: {error}") from error
    events: list[StorageEvent] = []
    problem = ""
    for record in records:
        try:
            if event := event_of(provider_id, bytes(record), via):
                events.append(event)
        except (ValueError, RecursionError) as error:
            problem = problem or str(error)
    if problem:
        raise BadEvent(f"not a notification of storage provider {provider_id}: {problem}", events)
    return events


def event_of(provider_id: str, record: bytes, via: Origin) -> StorageEvent | None:
    """Return the event of a MinIO record, or None if it does not announce a new object.

    Raises ValueError (including msgspec's errors) if the fields that identify an object are missing, or if a value is
    out of bounds.
    """
    if len(record) > LONGEST_RECORD:
        raise ValueError(f"a record has {len(record)} bytes, at most {LONGEST_RECORD} are allowed")
    fields = _record.decode(record)
    item = fields.s3.object
    key = decode_key(item.key)
    if not fields.creates or key.endswith("/"):
        return None
    version = checked_name("the version", item.version_id)
    etag = checked_name("the eTag", item.etag)
    revision = revision_of_event(version, checked_sequencer(item.sequencer), etag)
    return StorageEvent(
        provider=provider_id,
        bucket=checked_bucket(fields.s3.bucket.name),
        key=checked_key(key),
        revision=revision.name,
        order=order_of(revision.order),
        size=checked_size(item.size),
        etag=etag,
        version_id="" if version == "null" else version,
        time=checked_name("the time", fields.time),
        depth=depth_of(item.metadata),
        via=via,
        record=record,
    )


def record_of(row: Row, source: str, order: int, time: str, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a record for an object found without an event, in the same format."""
    item: dict[str, Any] = {"key": encode_key(row.key), "size": row.size, "eTag": row.etag, "sequencer": f"{order:X}"}
    if row.version_id not in ("", "null"):
        item["versionId"] = row.version_id
    if metadata:
        item["userMetadata"] = dict(metadata)
    record = {
        "eventVersion": "2.0",
        "eventSource": source,
        "eventTime": time,
        "eventName": CREATIONS[0],
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": row.bucket, "arn": f"arn:aws:s3:::{row.bucket}"},
            "object": item,
        },
    }
    return to_json(record)


def event_time(moment: datetime) -> str:
    """Format a time as in events: ISO 8601, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
