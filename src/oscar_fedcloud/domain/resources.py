# SPDX-License-Identifier: Apache-2.0
"""The requirements of a service's Jobs on a node, in Kubernetes terms."""

from __future__ import annotations

from oscar_fedcloud.fdl import Kubernetes, Service, Toleration


def requests_of(service: Service, gpu_resource: str) -> dict[str, str]:
    """Return the resource requests of a Job. Memory includes staging.

    ``gpu_resource`` is the cluster's name for GPUs.
    """
    requests = {"cpu": service.cpu, "memory": str(service.memory_bytes)}
    if service.ephemeral_storage_request:
        requests["ephemeral-storage"] = service.ephemeral_storage_request
    if gpus := (service.kubernetes or Kubernetes()).gpus or int(service.enable_gpu):
        requests[gpu_resource] = str(gpus)
    return requests


def toleration_of(wanted: Toleration) -> dict[str, str]:
    """Return a toleration as in a Pod's specification."""
    fields = {"key": wanted.key, "operator": wanted.operator, "value": wanted.value, "effect": wanted.effect}
    return {name: value for name, value in fields.items() if value}
