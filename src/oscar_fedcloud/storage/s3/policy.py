# SPDX-License-Identifier: Apache-2.0
"""The policy of a service's key: its inputs and outputs, and its part of the log and internal buckets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oscar_fedcloud.fdl import Service

_READ = ("s3:GetObject",)
_READ_WRITE = ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_LOG = ("s3:GetObject", "s3:PutObject")
_ARN = "arn:aws:s3:::"


def service_policy(
    service: Service, provider_id: str, log_bucket: str = "", internal_bucket: str = ""
) -> dict[str, Any]:
    """Return the policy document for a service at one provider. An empty bucket name omits that bucket.

    Raises ValueError for a folder that the policy language would interpret as a pattern.
    """
    inputs = {(item.bucket, item.folder) for item in service.input if item.storage_provider == provider_id}
    outputs = {(item.bucket, item.folder) for item in service.output if item.storage_provider == provider_id}
    own = {(bucket, service.name) for bucket in (log_bucket, internal_bucket) if bucket}
    statements = [
        _objects(_READ, inputs | ({(internal_bucket, service.name)} if internal_bucket else set())),
        _objects(_READ_WRITE, outputs),
        _objects(_LOG, {(log_bucket, service.name)} if log_bucket else set()),
        *_listings(inputs | outputs | own),
        _statement(("s3:GetBucketLocation",), {bucket for bucket, _ in inputs | outputs | own}),
    ]
    return {"Version": "2012-10-17", "Statement": [statement for statement in statements if statement]}


def same_policy(one: object, other: object) -> bool:
    """Return whether two policy documents are equal apart from the order of statements, actions and resources."""
    return _canonical(one) == _canonical(other)


def _objects(actions: Iterable[str], folders: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return _statement(actions, {f"{bucket}/{_pattern(folder)}" for bucket, folder in folders})


def _listings(folders: set[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return one statement per bucket. The condition key ``s3:prefix`` applies to ListBucket only."""
    statements = []
    for bucket in sorted({bucket for bucket, _ in folders}):
        patterns = sorted(_pattern(folder) for name, folder in folders if name == bucket)
        statement = _statement(("s3:ListBucket",), {bucket})
        if "*" not in patterns:
            statement["Condition"] = {"StringLike": {"s3:prefix": patterns}}
        statements.append(statement)
    return statements


def _statement(actions: Iterable[str], names: Iterable[str]) -> dict[str, Any]:
    resources = [_ARN + name for name in sorted(names)]
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resources} if resources else {}


def _pattern(folder: str) -> str:
    if any(mark in folder for mark in "*?") or "${" in folder:
        raise ValueError(f"folder {folder!r} cannot be used in a policy: '*', '?' and '${{' are patterns there")
    return f"{folder}/*" if folder else "*"


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        return tuple(sorted((key, _canonical(item)) for key, item in value.items() if item not in ("", None, {})))
    if isinstance(value, (list, tuple, set)):
        items = sorted({repr(_canonical(item)) for item in value})
        return items[0] if len(items) == 1 else tuple(items)
    return repr(value)
