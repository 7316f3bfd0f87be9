# SPDX-License-Identifier: Apache-2.0
"""What a service's Jobs ask of a node, in the words of Kubernetes, and what waits grouped by that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oscar_fedcloud.fdl import Kubernetes, Service, Toleration


@dataclass(frozen=True, slots=True)
class BacklogRow:
    """Jobs that would start now if there were room and that ask the same of a node. services: how many of each.

    requests: resource -> quantity. tolerations: as in a Pod's specification.
    """

    requests: Mapping[str, str]
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, str], ...]
    services: dict[str, int]


def requests_of(service: Service, gpu_resource: str) -> dict[str, str]:
    """What a Job asks for. Staging counts within the memory. gpu_resource: what GPUs are called in the cluster."""
    requests = {"cpu": service.cpu, "memory": str(service.memory_bytes)}
    if service.ephemeral_storage_request:
        requests["ephemeral-storage"] = service.ephemeral_storage_request
    if gpus := (service.kubernetes or Kubernetes()).gpus or int(service.enable_gpu):
        requests[gpu_resource] = str(gpus)
    return requests


def toleration_of(wanted: Toleration) -> dict[str, str]:
    """A toleration as it stands in a Pod's specification."""
    fields = {"key": wanted.key, "operator": wanted.operator, "value": wanted.value, "effect": wanted.effect}
    return {name: value for name, value in fields.items() if value}


def backlog_rows(counts: Mapping[str, int], services: Mapping[str, Service], gpu_resource: str) -> list[BacklogRow]:
    """Waiting Jobs, counted by service, by what they ask for. Services that have gone are left out."""
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
