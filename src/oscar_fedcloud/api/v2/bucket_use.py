# SPDX-License-Identifier: Apache-2.0
"""Determines which services use a bucket, so that it is not deleted by mistake. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from oscar_fedcloud.config import Config
from oscar_fedcloud.fdl import Service


def users_of(services: Iterable[Service], provider: str, bucket: str) -> list[str]:
    """Return the services that use the bucket, each with its use, such as ``csv (input, output)``."""
    found = []
    for service in services:
        ways = [
            way
            for way, places in (("input", service.input), ("output", service.output))
            if any((one.storage_provider, one.bucket) == (provider, bucket) for one in places)
        ]
        if ways:
            found.append(f"{service.name} ({', '.join(ways)})")
    return found


def own_use(config: Config, provider: str, bucket: str) -> str:
    """Return what the server itself stores in the bucket, or ""."""
    if provider != config.site_store_id:
        return ""
    return {config.log_bucket: "the logs of all jobs", config.internal_bucket: "the bodies of requests"}.get(bucket, "")
