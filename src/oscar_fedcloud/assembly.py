# SPDX-License-Identifier: Apache-2.0
"""Makes the daemon's parts from its configuration. The one place that knows which implementation is used."""

from __future__ import annotations

from typing import Final, Literal

from oscar_fedcloud.catalogue.entries import Store
from oscar_fedcloud.catalogue.store import FolderStore
from oscar_fedcloud.config import Config
from oscar_fedcloud.core import Core
from oscar_fedcloud.jobs.launchers.process import ProcessLauncher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.providers import make_providers
from oscar_fedcloud.sources.webhook import Webhook

WAYS: Final[tuple[Literal["fast", "durable"], ...]] = ("fast", "durable")


def build_core(config: Config) -> Core:
    """Ledger, stores, launcher and what works on them."""
    launcher = ProcessLauncher(config.data / "jobs", config.launcher, retention=config.retention)
    return Core(config, Ledger.open(config.ledger_url), make_providers(config), launcher, build_store(config))


def build_store(config: Config) -> Store:
    """Where the declared services are kept."""
    if config.catalogue.type == "folder":
        return FolderStore(config.data / "services")
    # here, not above: only daemons of a cluster have what this needs
    from oscar_fedcloud.catalogue.kubernetes.store import KubernetesStore
    from oscar_fedcloud.kube import KubeClient

    access = config.catalogue
    return KubernetesStore(KubeClient(access.kubeconfig, access.context), access.namespace, access.revisions)


def build_hooks(core: Core) -> dict[str, Webhook]:
    """The webhooks of stores that notify, by path."""
    return {
        f"/hooks/minio/{name}/{way}": Webhook(core.providers[name], way, settings.hooks.tokens, core)
        for name, settings in core.config.providers.items()
        if settings.hooks
        for way in WAYS
    }
