# SPDX-License-Identifier: Apache-2.0
"""Makes the daemon's parts from its configuration. The one place that knows which implementation is used."""

from __future__ import annotations

from starlette.types import ASGIApp

from oscar_fedcloud.api.app import create_app
from oscar_fedcloud.config import Config
from oscar_fedcloud.core import Core
from oscar_fedcloud.jobs.launchers.process import ProcessLauncher
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.providers import make_providers
from oscar_fedcloud.sources.webhook import Webhook


def build_core(config: Config) -> Core:
    """Ledger, stores, launcher and what works on them."""
    launcher = ProcessLauncher(config.data / "jobs", config.launcher, retention=config.retention)
    return Core(config, Ledger.open(config.ledger_url), make_providers(config), launcher)


def build_app(core: Core) -> ASGIApp:
    """The web application: the API, and the webhooks of stores that notify."""
    hooks: dict[str, ASGIApp] = {}
    for name, settings in core.config.providers.items():
        if settings.hooks:
            for way in ("fast", "durable"):
                hooks[f"/hooks/minio/{name}/{way}"] = Webhook(core.providers[name], way, settings.hooks.tokens, core)
    return create_app(core, hooks)
