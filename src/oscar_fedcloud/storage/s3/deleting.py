# SPDX-License-Identifier: Apache-2.0
"""Delete objects of any name: in batches if their names can be written in XML, else one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from oscar_fedcloud.storage.object_keys import stageable

_AT_ONCE = 1000  # limit of S3
_XML = re.compile("[\\t\\n\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]*")
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})

Named = tuple[str, str | None]  # key and version


def remove_objects(client: Minio, bucket: str, doomed: Sequence[Named]) -> Mapping[Named, str]:
    """Delete objects. Returns those that could not be deleted, with reasons.

    Raises the client's errors if the store does not answer, and S3Error if the bucket does not exist.
    """
    problems: dict[Named, str] = {}
    plain = [item for item in doomed if _XML.fullmatch(item[0]) and stageable(item[0])]
    many = set(plain)
    odd = [item for item in doomed if item not in many]
    for start in range(0, len(plain), _AT_ONCE):
        odd += _many(client, bucket, plain[start : start + _AT_ONCE])
    for item in odd:
        if problem := _one(client, bucket, item):
            problems[item] = problem
    return problems


def _many(client: Minio, bucket: str, doomed: Sequence[Named]) -> list[Named]:
    """Delete objects by one request. Returns those to delete one by one."""
    wanted = [DeleteObject(key, version) for key, version in doomed]
    try:
        failed = {error.name for error in client.remove_objects(bucket, iter(wanted))}
    except S3Error as error:
        if error.code in ("MalformedXML", "InvalidArgument", "NotImplemented"):
            return list(doomed)  # the store rejects one of the names, or batch requests in general
        raise
    return [item for item in doomed if item[0] in failed or None in failed]


def _one(client: Minio, bucket: str, item: Named) -> str:
    """Delete one object. Returns why it could not be deleted, or ""."""
    try:
        client.remove_object(bucket, item[0], version_id=item[1])
    except S3Error as error:
        if error.code in _GONE:
            return ""
        if error.code == "NoSuchBucket" or error.response.status >= 500:
            raise
        return f"{error.code}: {error.message}"
    except (HTTPError, OSError):
        raise
    except Exception as error:  # the client refuses the name
        return str(error)
    return ""
