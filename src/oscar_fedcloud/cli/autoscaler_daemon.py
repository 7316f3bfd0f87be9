# SPDX-License-Identifier: Apache-2.0
"""The daemon around the autoscaler: the HTTP server, signals, and its word with the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog
import uvicorn

from oscar_fedcloud import __version__
from oscar_fedcloud.autoscaler.assembly import make_controller
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig
from oscar_fedcloud.autoscaler.config.validation import external_config
from oscar_fedcloud.autoscaler.controller import Controller
from oscar_fedcloud.autoscaler.external_fleet import ControllerFleet
from oscar_fedcloud.autoscaler.reload import reload
from oscar_fedcloud.autoscaler.web import create_app
from oscar_fedcloud.daemon.process import address_family, notify_ready, notify_systemd
from oscar_fedcloud.kube import KubeClient

log = structlog.get_logger(__name__)

_ALIVE = 10.0  # s between words to the service manager's watchdog


async def serve(config: AutoscalerConfig, path: Path, *, dry_run: bool, record_to: Path | None) -> int:
    """Serve until a signal comes; the exit code is 0. Raises ConfigError, CloudError, OSError."""
    client = KubeClient(config.kubeconfig)
    controller = await make_controller(config, client, dry_run=dry_run, record_to=record_to, tick=Heartbeat())
    try:
        await controller.context.open_clouds()
        async with _serving_cluster_autoscaler(controller):
            await _serve(controller, path)
    finally:
        await controller.context.close_clouds()
        if controller.lease:
            await controller.lease.client.close()
        await client.close()
    return 0


@contextlib.asynccontextmanager
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


async def _serve(controller: Controller, path: Path) -> None:
    config = controller.context.config
    listener = socket.create_server((config.host, config.port), family=address_family(config.host))
    server = AutoscalerServer(
        uvicorn.Config(create_app(controller), lifespan="off", access_log=False, log_config=None, loop="none")
    )
    _listen_to_signals(controller, server, path)
    controller.start()
    try:
        notify_ready()
        log.info("started", listen=config.listen, version=__version__, dry_run=controller.dry_run)
        await server.serve(sockets=[listener])
    finally:
        notify_systemd("STOPPING=1")
        await controller.stop()


class AutoscalerServer(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise the one that ended it once more, and we still have to clean up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True


def _listen_to_signals(controller: Controller, server: AutoscalerServer, path: Path) -> None:
    reloads: set[asyncio.Task[bool]] = set()

    def begin_reload() -> None:
        task = asyncio.create_task(reload(controller.context, path))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, begin_reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)


class Heartbeat:
    """Tells the service manager now and then that the loop of decisions goes round."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self) -> None:
        """Called at each round."""
        now = time.monotonic()
        if now - self._last >= _ALIVE:
            self._last = now
            notify_systemd("WATCHDOG=1")
