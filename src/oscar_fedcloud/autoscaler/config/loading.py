# SPDX-License-Identifier: Apache-2.0
"""Reads ``autoscaler.yml`` and checks it whole."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig
from oscar_fedcloud.autoscaler.config.validation import problems
from oscar_fedcloud.config import ConfigError


def load(path: str | Path) -> AutoscalerConfig:
    """Read and check a configuration file. Raises ConfigError, one line for each problem."""
    try:
        config = msgspec.convert(yaml.safe_load(Path(path).read_text(encoding="utf-8")), AutoscalerConfig)
    except OSError as error:
        raise ConfigError(f"configuration {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration {path} is not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration {path}: {error}") from error
    if found := problems(config):
        raise ConfigError("\n".join(found))
    return config
