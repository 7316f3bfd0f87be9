# SPDX-License-Identifier: Apache-2.0
"""A thin client of the Kubernetes API: plain JSON in and out, lists and watches that resume."""

from oscar_fedcloud.kube.client import KubeClient
from oscar_fedcloud.kube.errors import KubeConfigError, KubeError, KubeUnavailable
from oscar_fedcloud.kube.resource import ResourceType
from oscar_fedcloud.kube.watch import ListSnapshot, WatchEvent, watch

__all__ = [
    "KubeClient",
    "KubeConfigError",
    "KubeError",
    "KubeUnavailable",
    "ListSnapshot",
    "ResourceType",
    "WatchEvent",
    "watch",
]
