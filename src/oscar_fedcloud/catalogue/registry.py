# SPDX-License-Identifier: Apache-2.0
"""Makes the repository of services that the configuration names. The one place that knows which types there are."""

from __future__ import annotations

from oscar_fedcloud.catalogue.entries import ServiceRepository
from oscar_fedcloud.catalogue.store import FolderRepository
from oscar_fedcloud.config import Config


def make_repository(config: Config) -> ServiceRepository:
    """Return the repository that keeps the declared services."""
    if config.catalogue.type == "folder":
        return FolderRepository(config.data / "services")
    from oscar_fedcloud.catalogue.kubernetes.store import KubernetesRepository  # of the extra "kubernetes"
    from oscar_fedcloud.kube import KubeClient

    access = config.catalogue
    return KubernetesRepository(KubeClient(access.kubeconfig, access.context), access.namespace, access.revisions)
