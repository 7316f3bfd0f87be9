# SPDX-License-Identifier: Apache-2.0
"""Reload the configuration of a running autoscaler."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.clouds.protocol import Cloud, CloudError
from oscar_fedcloud.autoscaler.config.loading import load
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig
from oscar_fedcloud.autoscaler.machines.context import ActionContext
from oscar_fedcloud.autoscaler.machines.userdata import find_cluster
from oscar_fedcloud.config import ConfigError

log = structlog.get_logger(__name__)

# Settings that only a restart changes.
FIXED = ("cluster", "kubeconfig", "listen", "data_dir", "namespace", "invoker", "external", "lease_duration")


async def reload(context: ActionContext, path: Path) -> bool:
    """Read the file again and apply it, completely or not at all. Returns whether it was applied."""
    try:
        wanted = await asyncio.to_thread(load, path)
        kept = keep_fixed(context.config, wanted)
        cluster = await find_cluster(kept)
        clouds = await _clouds(context, kept)
    except (ConfigError, CloudError) as error:
        log.error("configuration not reloaded, the former one stays in use", error=str(error))
        context.metrics.reloads.labels("refused").inc()
        return False
    former = context.clouds
    context.config, context.cluster, context.clouds = kept, cluster, clouds
    for name, cloud in former.items():
        if clouds.get(name) is not cloud:
            await cloud.close()
    log.info("configuration reloaded", pools=[pool.name for pool in kept.pools])
    context.metrics.reloads.labels("done").inc()
    context.wake()
    return True


def keep_fixed(former: AutoscalerConfig, wanted: AutoscalerConfig) -> AutoscalerConfig:
    """Return the wanted configuration with the former values of settings that only a restart changes."""
    later = [name for name in FIXED if getattr(former, name) != getattr(wanted, name)]
    if later:
        log.warning("settings that only a restart applies", settings=later)
    return msgspec.structs.replace(wanted, **{name: getattr(former, name) for name in later})


async def _clouds(context: ActionContext, wanted: AutoscalerConfig) -> Mapping[str, Cloud]:
    """Return the clouds of a configuration. Those with unchanged settings are kept. Raises ConfigError, CloudError."""
    found: dict[str, Cloud] = {}
    for name, settings in wanted.clouds.items():
        if context.config.clouds.get(name) == settings and name in context.clouds:
            found[name] = context.clouds[name]
        else:
            found[name] = build(name, wanted.cluster, settings)
            await found[name].open()
    return found
