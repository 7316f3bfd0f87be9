# SPDX-License-Identifier: Apache-2.0
"""An ASGI application served on loopback, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from typing import Any

import uvicorn
from parts.ports import free_port


class AsgiServer:
    """``stop`` and ``start`` may be repeated; address and application stay."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, timeout: float = 20.0) -> AsgiServer:
        """Serve, and wait until it does."""
        config = uvicorn.Config(self.app, "127.0.0.1", self.port, log_config=None, ws="none", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + timeout
        while not self._server.started:
            if time.monotonic() > deadline:
                raise RuntimeError("the server of the test does not start")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Serve no more; open connections are cut."""
        if self._server and self._thread:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(20)
        self._server = self._thread = None

    def __enter__(self) -> AsgiServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
