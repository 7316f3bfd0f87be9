# SPDX-License-Identifier: Apache-2.0
"""Finds the storage events in the body of a request. Clients and gateways send them in several formats and wrappers.

Formats are tried in this order: API Gateway (its ``body`` is unwrapped), dCache, Rucio, events delegated by another
cluster (their ``event`` is unwrapped), records of S3, MinIO, OneTrigger and Rucio. A wrapper only counts if it contains
a storage event; any other body is data, whatever its JSON type.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import msgspec

from oscar_fedcloud.domain.events import BadEvent
from oscar_fedcloud.storage.object_keys import decode_key
from oscar_fedcloud.storage.s3_events import S3Record

_LEVELS = 4  # nested wrappers
_NO_JSON = object()


class Dialect(StrEnum):
    """The sender of an event."""

    MINIO = "minio"
    S3 = "s3"
    ONEDATA = "onedata"
    DCACHE = "dcache"
    RUCIO = "rucio"
    UNKNOWN = "unknown"  # data


@dataclass(frozen=True, slots=True)
class Parsed:
    """One object reported by a body, or the body itself as data.

    Attributes:
        provider: storage provider id as in the FDL, e.g. ``minio.default``.
        record: the record for the script.
        data: for UNKNOWN, the bytes of the input file.
        query: the query parameters of an API Gateway.
    """

    dialect: Dialect
    provider: str = ""
    bucket: str = ""
    key: str = ""
    time: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)


def unwrap(body: bytes) -> list[Parsed]:
    """Return an item for each record in the body, or one UNKNOWN. Empty if there are events, but none of new objects.

    Raises BadEvent for JSON that cannot be decoded.
    """
    try:
        return _unwrap(body)
    except RecursionError as error:
        raise BadEvent("the body is JSON that is nested too deeply; send it as base64 if it is data") from error
    except UnicodeError as error:
        raise BadEvent(f"the body holds text that is not Unicode: {error}") from error


def _unwrap(body: bytes) -> list[Parsed]:
    document = _decoded(body)
    query, inner = _gateway(document)
    found = _events(document if inner is None else _decoded(inner), "default", _LEVELS)
    if found is None:
        found = [Parsed(Dialect.UNKNOWN, data=_file(body if inner is None else inner))]
    return [replace(item, query=query) for item in found] if query else found


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError):  # ValueError: numbers with thousands of digits
        return _NO_JSON


def _gateway(document: object) -> tuple[dict[str, str], bytes | None]:
    """Return the query and body of an API Gateway proxy event; the body is None if it is no such event."""
    if not isinstance(document, dict) or not isinstance(document.get("httpMethod"), str) or "body" not in document:
        return {}, None
    query = document.get("queryStringParameters") or {}
    parameters = {str(name): str(value) for name, value in query.items()} if isinstance(query, dict) else {}
    body = document["body"]
    if not isinstance(body, str):
        return parameters, b"" if body is None else msgspec.json.encode(body)
    content = body.encode("utf-8", "surrogateescape")
    return parameters, (_base64(content) or content) if document.get("isBase64Encoded") is True else content


def _events(document: object, provider: str, levels: int) -> list[Parsed] | None:
    """Return the events of a decoded body; None if it is no storage event."""
    if not isinstance(document, dict) or not levels:
        return None
    return (
        _dcache(document) or _rucio(document) or _delegated(document, provider, levels) or _records(document, provider)
    )


def _dcache(document: dict[str, Any]) -> list[Parsed] | None:
    event = document.get("event")
    if not isinstance(event, dict) or "subscription" not in document or not _text(event.get("name")):
        return None
    return [Parsed(Dialect.DCACHE, "webdav.dcache", key=event["name"], record=document)]


def _rucio(document: dict[str, Any]) -> list[Parsed] | None:
    payload = document.get("payload")
    if "event_type" not in document or not isinstance(payload, dict):
        return None
    if not (_text(payload.get("scope")) and _text(payload.get("name"))):
        return None
    return [Parsed(Dialect.RUCIO, "rucio.rucio", bucket=payload["scope"], key=payload["name"], record=document)]


def _delegated(document: dict[str, Any], provider: str, levels: int) -> list[Parsed] | None:
    """Return the events of ``{"storage_provider": id, "event": event as object or text}``, from a federated cluster."""
    inner = document.get("event")
    if isinstance(inner, str):
        inner = _decoded(inner.encode("utf-8", "surrogateescape"))
    name = document.get("storage_provider")
    return _events(inner, name if isinstance(name, str) and name else provider, levels - 1)


def _records(document: dict[str, Any], provider: str) -> list[Parsed] | None:
    records = document.get("Records")
    if not isinstance(records, list) or not records:
        return None
    found: list[Parsed] = []
    for record in records:
        if not isinstance(record, dict) or (parsed := _record(document, record, provider)) is None:
            return None
        found += parsed
    return found


def _record(document: dict[str, Any], record: dict[str, Any], provider: str) -> list[Parsed] | None:
    """Return the event of one record: None if the format is unknown, empty if it does not report a new object."""
    source = record.get("eventSource")
    if source in ("aws:s3", "minio:s3"):
        return _s3_record(record, Dialect.S3 if source == "aws:s3" else Dialect.MINIO, provider)
    time = record["eventTime"] if _text(record.get("eventTime")) else ""
    if source == "OneTrigger" and _text(document.get("Key")):
        space, _, key = document["Key"].strip("/").partition("/")
        return [Parsed(Dialect.ONEDATA, _id("onedata", provider), space, key, time, record)]
    if source == "rucio" and _text(record.get("scope")) and _text(record.get("name")):
        return [Parsed(Dialect.RUCIO, "rucio.rucio", record["scope"], record["name"], time, record)]
    return None


def _s3_record(record: dict[str, Any], dialect: Dialect, provider: str) -> list[Parsed] | None:
    try:
        fields = msgspec.convert(record, S3Record)
    except msgspec.ValidationError:
        return None
    key = decode_key(fields.s3.object.key)
    if not fields.creates or key.endswith("/"):
        return []
    return [Parsed(dialect, _id(dialect.value, provider), fields.s3.bucket.name, key, fields.time, record)]


def _id(kind: str, name: str) -> str:
    """Return ``type.id`` of a provider that is named by its id alone or in full."""
    return name if name.startswith(f"{kind}.") else f"{kind}.{name}"


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _file(body: bytes) -> bytes:
    """Return the input file in a body: clients send binary files as base64, JSON and other text as it is."""
    if _decoded(body) is not _NO_JSON:
        return body
    return _base64(body) or body


def _base64(body: bytes) -> bytes | None:
    """Return the decoded bytes if the whole body is base64, else None."""
    text = b"".join(body.split())
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return decoded if base64.b64encode(decoded) == text else None
