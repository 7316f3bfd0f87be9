# SPDX-License-Identifier: Apache-2.0
"""The daemon of the autoscaler: its parts between their start and their stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from oscar_fedcloud.autoscaler.assembly import open_controller
from oscar_fedcloud.autoscaler.clouds.protocol import CloudError
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig
from oscar_fedcloud.autoscaler.config.validation import external_config
from oscar_fedcloud.autoscaler.controller import Controller
from oscar_fedcloud.autoscaler.external_fleet import ControllerFleet
from oscar_fedcloud.autoscaler.reload import reload
from oscar_fedcloud.autoscaler.web import create_app
from oscar_fedcloud.daemon.program import Program, Service
from oscar_fedcloud.kube import KubeError


def make_program(config: AutoscalerConfig, path: Path, *, dry_run: bool, record_to: Path | None) -> Program:
    """Return the autoscaler of a configuration, which was read from ``path``, as a program."""
    return Program(
        name="oscar-autoscaler",
        data=Path(config.data_dir),
        host=config.host,
        port=config.port,
        open=partial(_open, config, path, dry_run, record_to),
        failures=(KubeError, CloudError, OSError),
    )


@asynccontextmanager
async def _open(config: AutoscalerConfig, path: Path, dry_run: bool, record_to: Path | None) -> AsyncIterator[Service]:
    """Put the parts together; stop them at the end. Raises ConfigError, CloudError, KubeError, OSError."""
    async with (
        open_controller(config, dry_run=dry_run, record_to=record_to) as controller,
        _serving_cluster_autoscaler(controller),
    ):
        try:
            yield Service(
                create_app(controller),
                controller.start,
                reload=partial(reload, controller.context, path),
                settled=controller.observer.synced.wait,
            )
        finally:
            await controller.stop()


@asynccontextmanager
async def _serving_cluster_autoscaler(controller: Controller) -> AsyncIterator[None]:
    """Serve it beside the rest, if the configuration says so. Raises ConfigError, CloudError."""
    settings = controller.context.config.external
    if settings is None or controller.dry_run:
        yield
        return
    from oscar_fedcloud.autoscaler.external.server import serve as serve_external  # needs packages of its own

    server = await serve_external(ControllerFleet(controller), external_config(settings))
    try:
        yield
    finally:
        await server.stop(5)
