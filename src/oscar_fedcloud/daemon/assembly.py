# SPDX-License-Identifier: Apache-2.0
"""Makes the daemon's parts from its configuration. The one place that knows which implementation is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from oscar_fedcloud.catalogue.entries import Store
from oscar_fedcloud.catalogue.store import FolderStore
from oscar_fedcloud.config import Config, KubernetesConfig
from oscar_fedcloud.daemon.invoker import Core
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.sources.webhook import Webhook
from oscar_fedcloud.storage.ports import Provider
from oscar_fedcloud.storage.registry import check_keys, make_providers

WAYS: Final[tuple[Literal["fast", "durable"], ...]] = ("fast", "durable")


def build_core(config: Config) -> Core:
    """Ledger, stores, launcher and what works on them."""
    providers = make_providers(config)
    check_keys(providers)
    return Core(
        config, Ledger.open(config.ledger_url), providers, _build_launcher(config, providers), _build_store(config)
    )


def _build_launcher(config: Config, providers: Mapping[str, Provider]) -> Launcher:
    if isinstance(config.launcher, KubernetesConfig):
        from oscar_fedcloud.launchers.kubernetes.launcher import KubernetesLauncher  # of the extra "kubernetes"
        from oscar_fedcloud.launchers.kubernetes.run_records import StoreRecords

        records = StoreRecords(next(iter(providers.values())), config.log_bucket)
        return KubernetesLauncher(config.launcher, records)
    return ProcessLauncher(config.data / "jobs", config.launcher, retention=config.retention)


def _build_store(config: Config) -> Store:
    if config.catalogue.type == "folder":
        return FolderStore(config.data / "services")
    from oscar_fedcloud.catalogue.kubernetes.store import KubernetesStore  # of the extra "kubernetes"
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
