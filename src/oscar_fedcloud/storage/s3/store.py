# SPDX-License-Identifier: Apache-2.0
"""Polled S3 stores: AWS, Ceph and others. The base class of the other stores.

An object appears in S3 as a whole, so one listing is enough. A Job gets the key from the FDL, else a key of its service
if the store issues keys (MinIO does), else the key of the configuration if that allows sharing it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import islice
from typing import Any, BinaryIO

import structlog
from minio import Minio, MinioAdmin
from minio.error import MinioAdminException, MinioException, S3Error
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.domain.events import BadEvent, Origin, StorageEvent
from oscar_fedcloud.domain.stores import Credential, Prefix
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.storage.bounds import order_of
from oscar_fedcloud.storage.endpoints import HostAndScheme
from oscar_fedcloud.storage.errors import (
    BadAnswer,
    BucketMissing,
    BucketNotEmpty,
    StoreError,
    UnusableRows,
    WriteRefused,
)
from oscar_fedcloud.storage.object_keys import DEPTH_HEADER, depth_of, stageable, unstorable
from oscar_fedcloud.storage.rclone import remote_environment
from oscar_fedcloud.storage.revision import Revision, revision_of_polled
from oscar_fedcloud.storage.rows import Row
from oscar_fedcloud.storage.s3.connection import pool_manager
from oscar_fedcloud.storage.s3.deleting import remove_objects
from oscar_fedcloud.storage.s3.issuing import KeyIssuer, admin_client
from oscar_fedcloud.storage.s3.listing import PAGE, objects, one_object
from oscar_fedcloud.storage.s3.policy import service_policy
from oscar_fedcloud.storage.s3_events import event_time, record_of

log = structlog.get_logger(__name__)

_GONE = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "MethodNotAllowed"})  # the last: a delete marker
_NAMES = frozenset(  # error codes for names that a store does not allow
    {"KeyTooLongError", "XMinioInvalidObjectName", "InvalidArgument", "InvalidBucketName", "InvalidURI"}
)
_CHUNK = 256 * 1024
_PART = 16 * 1024 * 1024
_PROBE_PATIENCE = 3.0  # s
_NOTED = 1000  # objects with unusable rows that are kept
_TOLD = 10  # objects in the log that could not be deleted
_SHOWN = 500  # characters of a store's message that are shown


class S3Store:
    """An S3 store without notifications. Thread-safe. Every method blocks, with time limits on each request."""

    event_source = "aws:s3"
    settle = 1  # listings that must agree on an object before it counts

    def __init__(
        self, provider_id: str, config: ProviderConfig, log_bucket: str = "", internal_bucket: str = ""
    ) -> None:
        self.id = provider_id
        self.config = config
        self.log_bucket = log_bucket
        self.internal_bucket = internal_bucket
        self._address = HostAndScheme.of(config.endpoint)
        self._pool = pool_manager(config.verify)
        self._client = self._connect(self._pool)
        self._unusable: dict[tuple[str, str], str] = {}  # objects with unusable rows -> why
        self._issues = False  # whether the store is known to issue keys
        self._probe = self._connect(pool_manager(config.verify, _PROBE_PATIENCE, repeats=0))

    @cached_property
    def _admin(self) -> MinioAdmin:
        return admin_client(self.config, self._pool)

    @cached_property
    def _issuer(self) -> KeyIssuer:
        return KeyIssuer(self._admin)

    def _connect(self, pool: PoolManager) -> Minio:
        return Minio(
            self._address.host,
            self.config.access_key or None,
            self.config.secret_key or None,
            secure=self._address.secure,
            region=self.config.region,
            http_client=pool,
        )

    @property
    def polled(self) -> bool:
        """Return whether objects are found only by polling."""
        return True

    # -- objects ---------------------------------------------------------------------------------------------------

    def parse(self, body: bytes, via: Origin = Origin.DURABLE) -> list[StorageEvent]:
        """Raise BadEvent: this store sends no events."""
        raise BadEvent(f"storage provider {self.id} sends no events that the invoker accepts")

    def list(self, where: Prefix, after: str = "", limit: int = 0) -> Iterable[StorageEvent]:
        """Yield the current object of each key after ``after``, without depth. Keys that end in ``/`` are left out."""
        with self._asking("list", where.bucket):
            try:
                for row in self._rows(where.bucket, where.prefix, after, limit):
                    if not row.key.endswith("/"):
                        yield self._event(row)
            except UnusableRows as error:
                self._note_unusable(where.bucket, error)
                raise

    def _note_unusable(self, bucket: str, error: UnusableRows) -> None:
        if len(self._unusable) > _NOTED:
            self._unusable.clear()
        self._unusable.update({(bucket, key): reason for key, reason in error.reasons.items()})

    def why(self, bucket: str, key: str) -> str:
        """Return what prevents this object from being an input, as far as known from listings, or ""."""
        reason = self._unusable.get((bucket, key), "")
        return reason and f"the store's listing of it cannot be used: {reason}"

    def stat(self, bucket: str, key: str) -> StorageEvent | None:
        """Return the current object as an event, with its depth, or None."""
        with self._asking("look up an object of", bucket):
            metadata = self._metadata(bucket, key)
            if metadata is None:
                return None
            # Times in headers are truncated to seconds: identity and order come from the object's row in a listing.
            row = self._row(bucket, key)
            return self._event(row, metadata) if row else None

    def _metadata(self, bucket: str, key: str) -> dict[str, str] | None:
        """Return the user metadata of an object, or None if it does not exist."""
        if not stageable(key):
            return {}  # the client refuses such keys, and they are never read
        try:
            head = self._client.stat_object(bucket, key)
        except UnicodeEncodeError:  # a signed request cannot name a key that is not UTF-8
            return None
        except S3Error as error:
            if error.code in _GONE:
                return None
            raise
        return {name: value for name, value in (head.metadata or {}).items() if name.lower().startswith("x-amz-meta-")}

    def settled(self, event: StorageEvent) -> bool:
        """Return True: an object appears in S3 as a whole."""
        return True

    def put(self, bucket: str, key: str, body: bytes, depth: int = 0) -> StorageEvent:
        """Store an object and return its event. Raises BucketMissing."""
        return self.put_file(bucket, key, io.BytesIO(body), len(body), depth)

    def put_file(self, bucket: str, key: str, file: BinaryIO, size: int, depth: int = 0) -> StorageEvent:
        """Store ``size`` bytes of the file as an object and return its event. Raises BucketMissing, WriteRefused."""
        if reason := self.unstorable(bucket, key):
            raise WriteRefused(f"storage provider {self.id} cannot hold the object {key!r}: {reason}")
        with self._asking("store an object in", bucket):
            metadata: dict[str, Any] = {DEPTH_HEADER: str(depth)}
            self._client.put_object(bucket, key, file, size, metadata=metadata, part_size=_PART)
        if (event := self.stat(bucket, key)) is None:
            raise StoreError(f"storage provider {self.id}: the object just stored in bucket {bucket} is gone")
        return event

    def unstorable(self, bucket: str, key: str) -> str:
        """Return why this store cannot hold an object of that key, or ""."""
        return unstorable(key)

    def read(self, bucket: str, key: str) -> Iterator[bytes] | None:
        """Return the object's bytes in chunks, or None."""
        if unstorable(key):
            return None
        with self._asking("read an object of", bucket):
            try:
                response = self._client.get_object(bucket, key)
            except UnicodeEncodeError:
                return None
            except S3Error as error:
                if error.code in _GONE:
                    return None
                raise
        return self._chunks(bucket, response)

    def _chunks(self, bucket: str, response: Any) -> Iterator[bytes]:
        with self._asking("read an object of", bucket):
            try:
                yield from response.stream(_CHUNK, decode_content=False)  # the stored bytes, even if gzip
            finally:
                response.close()
                response.release_conn()

    def remove(self, bucket: str, key: str) -> bool:
        """Delete an object. Returns False if there was none. Versions are kept. Raises BucketMissing."""
        if self.stat(bucket, key) is None:
            return False
        with self._asking("delete an object of", bucket):
            self._client.remove_object(bucket, key)
        return True

    def older(self, bucket: str, before: float) -> Iterator[str]:
        """Yield the keys of objects last written before that time (seconds since the epoch)."""
        with self._asking("list", bucket):
            for row in objects(self._client, bucket, ""):
                if row.modified.timestamp() < before:
                    yield row.key

    def remove_many(self, bucket: str, keys: Sequence[str]) -> int:
        """Delete these objects and return how many were deleted. Failures are logged."""
        with self._asking("delete objects of", bucket):
            problems = remove_objects(self._client, bucket, [(key, None) for key in keys])
        for key, problem in list(problems.items())[:_TOLD]:
            log.warning("object cannot be deleted", provider=self.id, bucket=bucket, key=key[0], error=problem[:_SHOWN])
        return len(keys) - len(problems)

    def _rows(self, bucket: str, prefix: str, after: str, limit: int) -> Iterator[Row]:
        return objects(self._client, bucket, prefix, after, limit)

    def _row(self, bucket: str, key: str) -> Row | None:
        return one_object(self._client, bucket, key)

    def _revision(self, row: Row) -> Revision:
        return revision_of_polled(row.size, row.modified, row.etag)

    def _event(self, row: Row, metadata: Mapping[str, str] | None = None) -> StorageEvent:
        revision = self._revision(row)
        version = "" if row.version_id == "null" else row.version_id
        time = event_time(row.modified)
        return StorageEvent(
            provider=self.id,
            bucket=row.bucket,
            key=row.key,
            revision=revision.name,
            order=order_of(revision.order),
            size=row.size,
            etag=row.etag,
            version_id=version,
            time=time,
            depth=depth_of(metadata),
            via=Origin.LISTING,
            record=record_of(row, self.event_source, revision.order, time, metadata),
        )

    # -- buckets and rules -----------------------------------------------------------------------------------------

    def buckets(self) -> Sequence[str]:
        """Return the names of all buckets."""
        with self._asking("list its buckets"):
            return [bucket.name for bucket in self._client.list_buckets()]

    def ensure_bucket(self, bucket: str) -> bool:
        """Create the bucket if it is missing. Returns whether it was."""
        with self._asking("create", bucket):
            if self._client.bucket_exists(bucket):
                return False
            try:
                self._client.make_bucket(bucket)
            except S3Error as error:
                if error.code == "BucketAlreadyOwnedByYou":  # another replica was faster
                    return False
                raise
            return True

    def delete_bucket(self, bucket: str, data: bool) -> None:
        """Delete the bucket, with all its objects if ``data``. Raises BucketMissing, BucketNotEmpty."""
        with self._asking("delete", bucket):
            if data:
                self._empty(bucket)
            try:
                self._client.remove_bucket(bucket)
            except S3Error as error:
                if error.code == "BucketNotEmpty":
                    raise BucketNotEmpty(f"bucket {bucket} of storage provider {self.id} is not empty") from error
                raise

    def _empty(self, bucket: str) -> None:
        rows = self._client.list_objects(bucket, recursive=True, include_version=self._versioned(bucket))
        doomed = ((row.object_name or "", row.version_id) for row in rows)
        while some := list(islice(doomed, PAGE)):
            for (key, _), problem in remove_objects(self._client, bucket, some).items():
                raise BadAnswer(
                    f"storage provider {self.id}: object {key!r} of bucket {bucket} was not deleted: {problem[:_SHOWN]}"
                )

    def _versioned(self, bucket: str) -> bool:
        """Return whether the bucket has or had versioning enabled."""
        return self._client.get_bucket_versioning(bucket).status in ("Enabled", "Suspended")

    def ensure_rules(self, bucket: str, prefixes: Sequence[str]) -> bool:
        """Do nothing: this store is polled."""
        return False

    # -- keys and health -------------------------------------------------------------------------------------------

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        """Return the key from the FDL, else the site's key if it may be shared, else a key for the service."""
        kind, _, name = self.id.partition(".")
        given = service.storage_providers.get(kind, {}).get(name, {})
        if given.get("access_key") and given.get("secret_key"):
            return Credential(given["access_key"], given["secret_key"])
        if self.config.shared_key or not self.config.access_key:
            return Credential(self.config.access_key, self.config.secret_key)
        if reason := self.key_problem():
            raise StoreError(reason)
        return self._issued(service, known)

    def key_problem(self) -> str:
        """Return why the store cannot issue the keys that Jobs need, or "". Raises StoreError."""
        if self.config.shared_key or self._issues or not self.config.access_key:
            return ""
        with self._asking("make keys"):
            reason = self._issuer.refusal()
        self._issues = not reason
        return reason and (
            f"storage provider {self.id} at {self.config.endpoint} cannot issue a key for each service: {reason}. Set "
            "shared_key: true in its configuration if all Jobs may use the key given there"
        )

    def _issued(self, service: Service, known: Credential | None) -> Credential:
        """Return a key of the service, issued by the store."""
        with self._asking(f"make a key for service {service.name}"):
            policy = service_policy(service, self.id, self.log_bucket, self.internal_bucket)
            return self._issuer.ensure(service, policy, known)

    def drop_credential(self, known: Credential) -> None:
        """Delete a service's key if the store issued it."""
        if self.config.shared_key or known.access_key == self.config.access_key or self.key_problem():
            return
        with self._asking("remove a key"):
            if self._issuer.is_ours(known.access_key):
                self._issuer.drop(known)

    def rclone_env(self, remote: str, credential: Credential | None) -> dict[str, str]:
        """Return the variables ``RCLONE_CONFIG_<REMOTE>_*`` for the runner."""
        return remote_environment(remote, self.config, credential)

    def clock(self) -> float:
        """Return the store's time in whole seconds since the epoch. No key is needed."""
        with self._asking("tell its time"):
            response = self._pool.request("HEAD", self.config.endpoint, redirect=False, retries=False)
            date = response.headers.get("Date")
            return parsedate_to_datetime(date).timestamp() if date else datetime.now(UTC).timestamp()

    def health(self) -> dict[str, Any]:
        """Return whether the store answers in time and accepts the key: ``{"ok": bool, "detail": str}``."""
        try:
            with self._asking("be reached"):
                if self.log_bucket:
                    self._probe.bucket_exists(self.log_bucket)
                else:
                    self._probe.list_buckets()
        except StoreError as error:
            return {"ok": False, "detail": str(error)}
        return {"ok": True, "detail": ""}

    @contextmanager
    def _asking(self, what: str, bucket: str = "") -> Iterator[None]:
        """Turn every error of the client library into a StoreError that names the provider and the bucket.

        This includes unexpected exceptions, which the library's parsers raise for malformed answers.
        """
        try:
            yield
        except StoreError:
            raise
        except S3Error as error:
            if error.code == "NoSuchBucket":
                raise BucketMissing(f"bucket {bucket} does not exist at storage provider {self.id}") from error
            if error.code in _NAMES:
                raise WriteRefused(
                    f"storage provider {self.id} refuses to {what} bucket {bucket}: {error.code}"
                ) from error
            why = f"{str(error.code)[:_SHOWN]}: {str(error.message)[:_SHOWN]}"
            kind = StoreError if error.response.status >= 500 else BadAnswer
            raise kind(self._failed(what, bucket, why)) from error
        except UnicodeEncodeError as error:
            raise WriteRefused(
                f"storage provider {self.id} cannot {what} bucket {bucket}: a name is not UTF-8"
            ) from error
        except (MinioException, MinioAdminException, HTTPError, OSError) as error:
            raise StoreError(self._failed(what, bucket, str(error)[:_SHOWN])) from error
        except Exception as error:
            why = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
            raise BadAnswer(self._failed(what, bucket, why[:_SHOWN])) from error

    def _failed(self, what: str, bucket: str, why: str) -> str:
        where = f"{what} bucket {bucket}" if bucket else what
        return f"storage provider {self.id} at {self.config.endpoint} cannot {where}: {why}"
