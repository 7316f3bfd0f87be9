# SPDX-License-Identifier: Apache-2.0
"""Names of the catalogue's Kubernetes objects."""

from __future__ import annotations

from oscar_fedcloud.kube import ResourceType

GROUP = "oscar.fedcloud.eu"
VERSION = "v1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "OscarService"
PLURAL = "oscarservices"

SERVICE_LABEL = f"{GROUP}/service"  # on a Secret: the service that it belongs to
MANAGER = "oscar-invoker"  # the field manager that kubectl shows
# Not the label of objects that the launcher makes for Jobs: those are removed when no Job needs them.
MANAGED_BY = {"app.kubernetes.io/managed-by": "oscar-catalogue"}
SECRET_TYPE = f"{GROUP}/service"
SELECTOR = ",".join(f"{label}={value}" for label, value in MANAGED_BY.items())


def services(namespace: str) -> ResourceType:
    """Return the resource type of OscarService objects in a namespace."""
    return ResourceType(API_VERSION, PLURAL, namespace)


def secrets(namespace: str) -> ResourceType:
    """Return the resource type of Secrets in a namespace."""
    return ResourceType("v1", "secrets", namespace)


def secret_name(service: str) -> str:
    """Return the name of a service's Secret. Names of services have no dots, so the names are unique."""
    return f"{service}.catalogue"
