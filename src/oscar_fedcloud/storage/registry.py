# SPDX-License-Identifier: Apache-2.0
"""Makes stores by their type. The one place that knows which types there are."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from oscar_fedcloud.config import Config, ConfigError, ProviderConfig
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.ports import ObjectStore


def make_providers(config: Config) -> dict[str, ObjectStore]:
    """All configured stores by id, in the order of the configuration. Raises ValueError."""
    buckets = (config.log_bucket, config.internal_bucket)
    return {provider_id: make_provider(provider_id, item, *buckets) for provider_id, item in config.providers.items()}


def check_keys(providers: Mapping[str, ObjectStore]) -> None:
    """Refuse stores that would hand the site's own key to Jobs without leave. Blocks. Raises ConfigError.

    A store that is away cannot be asked now; its services are in error then until it can.
    """
    for name, provider in providers.items():
        with contextlib.suppress(StoreError):
            if problem := provider.key_problem():
                raise ConfigError(f"providers.{name}: {problem}")


def make_provider(
    provider_id: str, config: ProviderConfig, log_bucket: str = "", internal_bucket: str = ""
) -> ObjectStore:
    """The provider of one store. Raises ValueError for an endpoint that is not http(s)://host[:port].

    log_bucket, internal_bucket: where services may write their logs and read the bodies of their HTTP events.
    """
    # Imported here: the S3 client is large, and tools that only read configurations do not need it.
    if config.type == "minio":
        from oscar_fedcloud.storage.minio.store import MinioStore

        return MinioStore(provider_id, config, log_bucket, internal_bucket)
    if config.type == "folder":
        from oscar_fedcloud.storage.folder.store import FolderStore

        return FolderStore(provider_id, config, log_bucket, internal_bucket)
    from oscar_fedcloud.storage.s3.store import S3Store

    return S3Store(provider_id, config, log_bucket, internal_bucket)
