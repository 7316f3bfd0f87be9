# SPDX-License-Identifier: Apache-2.0
"""A server whose lists have many pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Items = Sequence[Mapping[str, Any]]


@contextmanager
def paged_server(lists: Mapping[str, tuple[str, Items]], size: int) -> Iterator[tuple[str, list[str]]]:
    """Serve lists by their paths, each with the name of its items, ``size`` at a time; gives URL and asked paths."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            where = urlsplit(self.path)
            name, items = lists[where.path]
            begin = int(parse_qs(where.query).get("cursor", ["0"])[0])
            end = begin + size
            page = {
                name: items[begin:end],
                "cursor": str(end) if end < len(items) else "",
                "total": len(items),
                "truncated": end < len(items),
            }
            body = json.dumps(page).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is noted."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
