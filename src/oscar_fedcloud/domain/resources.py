# SPDX-License-Identifier: Apache-2.0
"""What a service's Jobs ask of a node, in the terms of Kubernetes."""

from __future__ import annotations

from oscar_fedcloud.fdl import Kubernetes, Service, Toleration


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
