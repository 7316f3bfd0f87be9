# SPDX-License-Identifier: Apache-2.0
"""Creates the configured repository of services. The only module that knows the available types."""

from __future__ import annotations

from oscar_fedcloud.catalogue.entries import ServiceRepository
from oscar_fedcloud.catalogue.folder_repository import FolderRepository
from oscar_fedcloud.config import Config


def make_repository(config: Config) -> ServiceRepository:
    """Return the repository that stores the declared services."""
    if config.catalogue.type == "folder":
        return FolderRepository(config.data / "services")
    from oscar_fedcloud.catalogue.kubernetes.repository import KubernetesRepository  # of the extra "kubernetes"
    from oscar_fedcloud.kube import KubeClient

    access = config.catalogue
    return KubernetesRepository(KubeClient(access.kubeconfig, access.context), access.namespace, access.revisions)
