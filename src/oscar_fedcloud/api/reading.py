# SPDX-License-Identifier: Apache-2.0
"""Service documents of requests, checked against what this server has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oscar_fedcloud.api.core import Core
from oscar_fedcloud.catalogue.matching import filter_rule
from oscar_fedcloud.fdl import Fdl, Service, parse_fdl, read_service


def read(
    core: Core, document: Mapping[str, Any], place: str = "service", strict: bool = True
) -> tuple[Service, tuple[str, ...]]:
    """A service and the warnings about it. Raises FdlError with places under ``place``."""
    return read_service(document, place, strict, tuple(core.providers), (filter_rule,), core.config.launcher.kind)


def read_fdl(core: Core, document: Mapping[str, Any]) -> Fdl:
    """A whole FDL document in which scripts stand as content. Raises FdlError."""
    return parse_fdl(
        document, providers=tuple(core.providers), rules=(filter_rule,), launcher=core.config.launcher.kind
    )
