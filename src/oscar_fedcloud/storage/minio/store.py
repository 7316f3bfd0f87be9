# SPDX-License-Identifier: Apache-2.0
"""MinIO: events by two webhook targets, and a separate key for each service.

The two targets, one with and one without a queue, are set up once with the server. A service only adds prefix rules.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from minio.notificationconfig import NotificationConfig

from oscar_fedcloud.config import Hooks, ProviderConfig
from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.minio.rules import merge
from oscar_fedcloud.storage.revision import Revision, revision_of_row
from oscar_fedcloud.storage.rows import Row
from oscar_fedcloud.storage.s3.listing import current_versions, objects, one_object
from oscar_fedcloud.storage.s3.store import S3Store
from oscar_fedcloud.storage.s3_events import parse_notification

_RULE_ATTEMPTS = 5


class MinioStore(S3Store):
    """A MinIO server of the site."""

    event_source = "minio:s3"

    def __init__(
        self, provider_id: str, config: ProviderConfig, log_bucket: str = "", internal_bucket: str = ""
    ) -> None:
        super().__init__(provider_id, config, log_bucket, internal_bucket)
        self._arns: tuple[str, ...] = ()

    @property
    def polled(self) -> bool:
        """Return whether the store has no webhook targets and is polled."""
        return self.config.hooks is None

    def parse(self, body: bytes, via: Origin = Origin.DURABLE) -> list[StorageEvent]:
        """Return all new objects in a notification. Raises BadEvent."""
        return parse_notification(self.id, body, via)

    def _rows(self, bucket: str, prefix: str, after: str, limit: int) -> Iterator[Row]:
        """Return current objects. Version ids are only in listings of versions."""
        listing = current_versions if self._versioned(bucket) else objects
        return listing(self._client, bucket, prefix, after, limit)

    def _row(self, bucket: str, key: str) -> Row | None:
        return one_object(self._client, bucket, key, self._versioned(bucket))

    def _revision(self, row: Row) -> Revision:
        return revision_of_row(row.version_id, row.modified, row.etag)

    # -- rules -----------------------------------------------------------------------------------------------------

    def ensure_rules(self, bucket: str, prefixes: Sequence[str]) -> bool:
        """Set the invoker's rules of this bucket to exactly these prefixes. Keeps others; returns whether any changed.

        The store has no compare-and-set: the rules are read again after writing, and written again if another writer
        reverted them.
        """
        if self.polled:
            return False
        with self._asking("set notification rules of", bucket):
            if self._arns and not self._wanted(bucket, prefixes):
                return False
            self._arns = self._targets()
            for attempt in range(_RULE_ATTEMPTS):
                wanted = self._wanted(bucket, prefixes)
                if wanted is None:
                    return attempt > 0
                self._client.set_bucket_notification(bucket, wanted)
                time.sleep(0.05 * attempt)
        raise StoreError(f"storage provider {self.id}: another program keeps changing the rules of bucket {bucket}")

    def _wanted(self, bucket: str, prefixes: Sequence[str]) -> NotificationConfig | None:
        return merge(self._client.get_bucket_notification(bucket), self._arns, prefixes)

    def _targets(self) -> tuple[str, ...]:
        """Return the ARNs of the two targets. The server's region is part of the name.

        They are read before each change: a starting server hides the rules of targets that it does not know yet.
        """
        hooks = self.config.hooks or Hooks()
        by_name = {arn.split(":")[-2]: arn for arn in json.loads(self._admin.info()).get("sqsARN") or []}
        if missing := [name for name in (hooks.fast, hooks.durable) if name not in by_name]:
            raise StoreError(f"storage provider {self.id} has no webhook target named {', '.join(missing)}")
        return (by_name[hooks.fast], by_name[hooks.durable])

    # -- keys ------------------------------------------------------------------------------------------------------

    def key_problem(self) -> str:
        """Return "": MinIO issues a key for each service."""
        return ""

    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:
        """Return a key with exactly the policy of this service: the known one if it still exists."""
        return self._issued(service, known)

    def drop_credential(self, known: Credential) -> None:
        """Delete a service's key. An unknown key is no error."""
        with self._asking("remove a key"):
            self._issuer.drop(known)
