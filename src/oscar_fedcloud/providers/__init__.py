# SPDX-License-Identifier: Apache-2.0
"""All that is special about one kind of store. The rest of the daemon sees ``oscar_fedcloud.model.Provider``."""

from __future__ import annotations

from oscar_fedcloud.config import Config, ProviderConfig
from oscar_fedcloud.model import Provider


def make_providers(config: Config) -> dict[str, Provider]:
    """All configured stores by id, in the order of the configuration. Raises ValueError."""
    buckets = (config.log_bucket, config.internal_bucket)
    return {provider_id: make_provider(provider_id, item, *buckets) for provider_id, item in config.providers.items()}


def make_provider(
    provider_id: str, config: ProviderConfig, log_bucket: str = "", internal_bucket: str = ""
) -> Provider:
    """The provider of one store. Raises ValueError for an endpoint that is not http(s)://host[:port].

    log_bucket, internal_bucket: where services may write their logs and read the bodies of their HTTP events.
    """
    # Imported here: the S3 client is large, and tools that only read configurations do not need it.
    if config.type == "minio":
        from oscar_fedcloud.providers.minio import MinioProvider

        return MinioProvider(provider_id, config, log_bucket, internal_bucket)
    if config.type == "folder":
        from oscar_fedcloud.providers.folder import FolderProvider

        return FolderProvider(provider_id, config, log_bucket, internal_bucket)
    from oscar_fedcloud.providers.s3 import S3Provider

    return S3Provider(provider_id, config, log_bucket, internal_bucket)
