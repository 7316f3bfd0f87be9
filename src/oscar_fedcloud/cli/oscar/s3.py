# SPDX-License-Identifier: Apache-2.0
"""The store of an existing OSCAR server, accessed by S3 with the keys that the server provides."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error

from oscar_fedcloud.cli.oscar.errors import CommandError, Denied, Missing, NotOffered, Unreachable

_GONE = ("NoSuchKey", "NoSuchBucket")
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_CHUNK = 256 * 1024
_PART = 16 * 1024 * 1024


class S3Client:
    """Buckets and objects. Raises the errors of the commands."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        endpoint = str(settings.get("endpoint") or "")
        if not (endpoint and settings.get("access_key") and settings.get("secret_key")):
            raise NotOffered("the server does not tell the keys of its store")
        parts = urlsplit(endpoint)
        self._endpoint = endpoint
        self._client = Minio(
            parts.netloc,
            access_key=str(settings["access_key"]),
            secret_key=str(settings["secret_key"]),
            secure=parts.scheme == "https",
            region=str(settings.get("region") or "us-east-1"),
            cert_check=settings.get("verify") is not False,
        )

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            kind = Missing if error.code in _GONE else Denied if error.code in _DENIED else CommandError
            raise kind(f"the store at {self._endpoint} refused: {error.code}: {error.message}") from error
        except InvalidResponseError as error:  # some servers send XML under another content type
            if any(code in str(error) for code in _GONE):
                raise Missing(f"the store at {self._endpoint} has no such bucket or object") from error
            raise Unreachable(f"the store at {self._endpoint} gave an answer that is not S3") from error
        except (urllib3.exceptions.HTTPError, MinioException, OSError) as error:
            raise Unreachable(f"the store at {self._endpoint} cannot be reached: {error}") from error

    def buckets(self) -> list[str]:
        """Return the names of all buckets."""
        with self._asking():
            return sorted(bucket.name for bucket in self._client.list_buckets())

    def make_bucket(self, name: str) -> None:
        """Create a bucket unless it exists."""
        with self._asking():
            if not self._client.bucket_exists(name):
                self._client.make_bucket(name)

    def delete_bucket(self, name: str, with_data: bool) -> None:
        """Delete a bucket, with its objects only if requested."""
        with self._asking():
            if with_data:
                for item in self._client.list_objects(name, recursive=True):
                    self._client.remove_object(name, str(item.object_name))
            self._client.remove_bucket(name)

    def objects(self, bucket: str, prefix: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Return objects in the order of their keys, and whether there are more."""
        with self._asking():
            listing = self._client.list_objects(bucket, prefix, recursive=True)
            found = list(itertools.islice(listing, limit + 1))
        return [_object(each) for each in found[:limit]], len(found) > limit

    def put(self, bucket: str, key: str, file: BinaryIO, size: int) -> None:
        """Store an object."""
        with self._asking():
            self._client.put_object(bucket, key, file, size, part_size=_PART)

    @contextlib.contextmanager
    def read(self, bucket: str, key: str) -> Iterator[Iterator[bytes]]:
        """Provide the bytes of an object in chunks."""
        with self._asking():
            response = self._client.get_object(bucket, key)
            try:
                yield response.stream(_CHUNK)
            finally:
                response.close()
                response.release_conn()

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object."""
        with self._asking():
            self._client.stat_object(bucket, key)
            self._client.remove_object(bucket, key)


def _object(found: Any) -> dict[str, Any]:
    modified = found.last_modified.isoformat() if found.last_modified else ""
    return {"key": found.object_name, "size": found.size, "etag": (found.etag or "").strip('"'), "modified": modified}
