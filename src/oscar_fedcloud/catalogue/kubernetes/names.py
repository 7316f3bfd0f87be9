# SPDX-License-Identifier: Apache-2.0
"""What the catalogue's objects are called."""

from __future__ import annotations

from oscar_fedcloud.kube import ResourceType

GROUP = "oscar.fedcloud.eu"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "OscarService"
PLURAL = "oscarservices"

SERVICE_LABEL = f"{GROUP}/service"  # on a Secret: the service that it belongs to
MANAGER = "oscar-invoker"  # who changed a field, as kubectl shows it
# Not the label of what the launcher makes for Jobs: that is removed when no Job needs it any more.
MANAGED_BY = {"app.kubernetes.io/managed-by": "oscar-catalogue"}
SECRET_TYPE = f"{GROUP}/service"
SELECTOR = ",".join(f"{label}={value}" for label, value in MANAGED_BY.items())


def services(namespace: str) -> ResourceType:
    """The OscarService objects of a namespace."""
    return ResourceType(API_VERSION, PLURAL, namespace)


def secrets(namespace: str) -> ResourceType:
    """The Secrets of a namespace."""
    return ResourceType("v1", "secrets", namespace)


def secret_name(service: str) -> str:
    """The Secret beside a service. Names of services have no dots, so no two share one."""
    return f"{service}.catalogue"
