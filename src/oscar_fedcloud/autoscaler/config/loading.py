# SPDX-License-Identifier: Apache-2.0
"""Read and validate ``autoscaler.yml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig
from oscar_fedcloud.autoscaler.config.validation import problems
from oscar_fedcloud.config import ConfigError

_FORMER_NAMES = {"drain_limit": "drain_timeout", "gone_limit": "missing_timeout"}
_FORMER_POOL_NAMES = {"start_limit": "startup_timeout"}


def load(path: str | Path) -> AutoscalerConfig:
    """Read and check a configuration file. Raises ConfigError, one line for each problem."""
    try:
        document = with_current_names(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
        config = msgspec.convert(document, AutoscalerConfig)
    except OSError as error:
        raise ConfigError(f"configuration {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration {path} is not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration {path}: {error}") from error
    if found := problems(config):
        raise ConfigError("\n".join(found))
    return config


def with_current_names(document: Any) -> Any:
    """Return the document with former names of settings replaced by the current ones.

    A document that is not a mapping is returned unchanged. Raises ConfigError if a setting is given under both names.
    """
    if not isinstance(document, dict):
        return document
    renamed = _rename(document, _FORMER_NAMES)
    if isinstance(pools := renamed.get("pools"), list):
        renamed["pools"] = [_rename(each, _FORMER_POOL_NAMES) if isinstance(each, dict) else each for each in pools]
    return renamed


def _rename(section: dict[str, Any], former_names: Mapping[str, str]) -> dict[str, Any]:
    for former, current in former_names.items():
        if former in section and current in section:
            raise ConfigError(f"{former} and {current} are the same setting, remove {former}")
    return {former_names.get(name, name): value for name, value in section.items()}
