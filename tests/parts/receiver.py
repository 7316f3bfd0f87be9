# SPDX-License-Identifier: Apache-2.0
"""A tiny receiver of MinIO's webhooks that keeps what it got."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Delivery:
    """One request as it came."""

    method: str
    path: str
    authorization: str
    body: bytes


class Receiver:
    """Answers every request with ``status``. Use as context manager."""

    def __init__(self) -> None:
        self.status = 200
        self.deliveries: list[Delivery] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(
        self, count: int, wanted: Callable[[Delivery], bool] = lambda _: True, timeout: float = 15.0
    ) -> list[Delivery]:
        """Wait until ``count`` deliveries that are wanted have come; returns all of them."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = [delivery for delivery in list(self.deliveries) if wanted(delivery)]
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"only {len(found)} of {count} deliveries within {timeout} s")

    def _handler(outer) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = self.headers.get("Authorization", "")
                outer.deliveries.append(Delivery(self.command, self.path, token, body))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_POST = _take

            def log_message(self, *_: object) -> None:
                return

        return Handler
