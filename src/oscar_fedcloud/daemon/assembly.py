# SPDX-License-Identifier: Apache-2.0
"""Makes the daemon's parts from its configuration. The one place that knows which implementation is used."""

from __future__ import annotations

from typing import Final, Literal

from oscar_fedcloud.catalogue.registry import make_repository
from oscar_fedcloud.config import Config
from oscar_fedcloud.daemon.invoker import Invoker
from oscar_fedcloud.launchers.registry import make_launcher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.sources.webhook import Webhook
from oscar_fedcloud.storage.registry import check_keys, make_providers

WAYS: Final[tuple[Literal["fast", "durable"], ...]] = ("fast", "durable")


def build_invoker(config: Config) -> Invoker:
    """Ledger, stores, launcher and what works on them."""
    providers = make_providers(config)
    check_keys(providers)
    launcher = make_launcher(config, providers[config.site_store_id])
    return Invoker(config, Ledger.open(config.ledger_url), providers, launcher, make_repository(config))


def build_hooks(invoker: Invoker) -> dict[str, Webhook]:
    """The webhooks of stores that notify, by path."""
    return {
        f"/hooks/minio/{name}/{way}": Webhook(invoker.stores[name], way, settings.hooks.tokens, invoker.intake)
        for name, settings in invoker.config.providers.items()
        if settings.hooks
        for way in WAYS
    }
