# SPDX-License-Identifier: Apache-2.0
"""Create stores by type. Only this module knows the types."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from oscar_fedcloud.config import Config, ConfigError, ProviderConfig
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.ports import ObjectStore


def make_providers(config: Config) -> dict[str, ObjectStore]:
    """Create all configured stores by id, in the order of the configuration. Raises ValueError."""
    buckets = (config.log_bucket, config.internal_bucket)
    return {provider_id: make_provider(provider_id, item, *buckets) for provider_id, item in config.providers.items()}


def check_keys(providers: Mapping[str, ObjectStore]) -> None:
    """Reject stores that would give the site's own key to Jobs without permission. Blocks. Raises ConfigError.

    A store that does not answer is not checked now; its services report an error until it answers.
    """
    for name, provider in providers.items():
        with contextlib.suppress(StoreError):
            if problem := provider.key_problem():
                raise ConfigError(f"providers.{name}: {problem}")


def make_provider(
    provider_id: str, config: ProviderConfig, log_bucket: str = "", internal_bucket: str = ""
) -> ObjectStore:
    """Create a store. Raises ValueError for an endpoint that is not http(s)://host[:port].

    Args:
        log_bucket: bucket to which services may write their logs
        internal_bucket: bucket from which services may read the bodies of their HTTP events
    """
    # Imported lazily: the S3 client is large, and tools that only read configurations do not need it.
    if config.type == "minio":
        from oscar_fedcloud.storage.minio.store import MinioStore

        return MinioStore(provider_id, config, log_bucket, internal_bucket)
    if config.type == "folder":
        from oscar_fedcloud.storage.folder.store import FolderStore

        return FolderStore(provider_id, config, log_bucket, internal_bucket)
    from oscar_fedcloud.storage.s3.store import S3Store

    return S3Store(provider_id, config, log_bucket, internal_bucket)
