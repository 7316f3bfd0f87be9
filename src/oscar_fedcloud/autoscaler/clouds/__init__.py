# SPDX-License-Identifier: Apache-2.0
"""Clouds that provide machines. Each implements ``protocol.Cloud`` and is listed in ``CloudConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from oscar_fedcloud.autoscaler.clouds.command import CommandConfig
from oscar_fedcloud.autoscaler.clouds.im import ImConfig
from oscar_fedcloud.autoscaler.clouds.openstack import OpenStackConfig
from oscar_fedcloud.autoscaler.clouds.protocol import Cloud
from oscar_fedcloud.config import ConfigError

CloudConfig = CommandConfig | ImConfig | OpenStackConfig


def build(name: str, cluster: str, settings: Mapping[str, Any]) -> Cloud:
    """Create a cloud from its settings, without connecting. Raises ConfigError with a sentence about one field."""
    try:
        config: CloudConfig = msgspec.convert(settings, CloudConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"clouds.{name}: {error}") from error
    if problems := config.problems():
        raise ConfigError(f"clouds.{name}: {problems[0]}")
    return config.make(name, cluster)


__all__ = ["CloudConfig", "build"]
