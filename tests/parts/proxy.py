# SPDX-License-Identifier: Apache-2.0
"""A reverse proxy that remembers every request, and can look like a server without ``/v2``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

MUTATING = ("POST", "PUT", "DELETE")
HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "host", "content-encoding", "date", "server"}


@dataclass(frozen=True)
class Seen:
    """A request that passed. ``target``: path and query."""

    method: str
    target: str
    body: bytes
    status: int


@dataclass
class Proxy:
    """The running proxy: its ``url``, and what it saw."""

    url: str
    seen: list[Seen] = field(default_factory=list)

    @property
    def mutating(self) -> list[Seen]:
        """The requests that can change something: all but reads and dry runs."""
        return [one for one in self.seen if one.method in MUTATING and "dry_run=true" not in one.target]


@contextmanager
def proxy_to(upstream: str, without_v2: bool = False) -> Iterator[Proxy]:
    """A proxy before ``upstream``. With ``without_v2`` all below ``/v2`` is 404, as at an existing OSCAR server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
    server.__dict__.update(
        proxy=proxy, without_v2=without_v2, client=httpx.Client(base_url=upstream, timeout=60, verify=False)
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.__dict__["client"].close()


class _Handler(BaseHTTPRequestHandler):
    def _pass(self) -> None:
        shared: dict[str, Any] = self.server.__dict__
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if shared["without_v2"] and self.path.startswith("/v2/"):
            status, headers, content = 404, {"Content-Type": "text/plain"}, b"404 page not found"
        else:
            sent = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            answer = shared["client"].request(self.command, self.path, content=body, headers=sent)
            status, content = answer.status_code, answer.content
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        shared["proxy"].seen.append(Seen(self.command, self.path, body, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _pass

    def log_message(self, *_: object) -> None:
        """Nothing: what passes is remembered."""
