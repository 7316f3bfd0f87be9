# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of a daemon, and the signals that end it or have its configuration read again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import structlog
import uvicorn

from oscar_fedcloud.runtime.unexpected import report

log = structlog.get_logger(__name__)

_GRACE = 10  # s that requests under way get to end


class Server(uvicorn.Server):
    """Leaves signals to the daemon: uvicorn raises the one that ended it again, before a stop in order."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        options: Mapping[str, Any],
        reload: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                **options,
                loop="none",
                lifespan="off",
                proxy_headers=False,
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self._reload = reload
        self._reloads: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    def listen_to_signals(self) -> None:
        """End at SIGTERM and SIGINT (a second SIGINT waits for no request); read the configuration at SIGHUP."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        if self._reload:
            loop.add_signal_handler(signal.SIGHUP, self._begin_reload, self._reload)

    def _begin_reload(self, reload: Callable[[], Awaitable[Any]]) -> None:
        task = asyncio.create_task(_reload(reload), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


async def _reload(reload: Callable[[], Awaitable[Any]]) -> None:
    try:
        await reload()
    except Exception as error:
        report(log, "the configuration could not be read again, the former one stays in use", error)
