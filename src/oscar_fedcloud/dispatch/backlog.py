# SPDX-License-Identifier: Apache-2.0
"""Waiting Jobs, grouped by what they request from a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oscar_fedcloud.domain.resources import requests_of, toleration_of
from oscar_fedcloud.fdl import Kubernetes, Service


@dataclass(frozen=True, slots=True)
class BacklogRow:
    """Jobs that would start now if there were capacity, and that have the same requirements.

    Attributes:
        requests: resource to quantity.
        tolerations: as in a Pod's specification.
        services: number of Jobs by service.
    """

    requests: Mapping[str, str]
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...]
    services: dict[str, int]


def backlog_rows(counts: Mapping[str, int], services: Mapping[str, Service], gpu_resource: str) -> list[BacklogRow]:
    """Group waiting Jobs, given as counts by service, by their requirements.

    Services that no longer exist are skipped.
    """
    rows: dict[str, BacklogRow] = {}
    for name, count in sorted(counts.items()):
        service = services.get(name)
        if service is None or not count:
            continue
        wanted = service.kubernetes or Kubernetes()
        row = BacklogRow(
            requests_of(service, gpu_resource),
            dict(wanted.node_selector),
            tuple(map(toleration_of, wanted.tolerations)),
            {},
        )
        rows.setdefault(repr(row), row).services[name] = count
    return list(rows.values())
