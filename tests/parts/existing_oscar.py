# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a server of the existing OSCAR (``/system/*``), in front of a real S3 store."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from parts.rclone_s3 import RcloneS3

USER, PASSWORD = "oscar", "the password"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class ExistingOscar:
    """What the server holds: services by name, and the jobs of each with their logs."""

    def __init__(self, store: RcloneS3) -> None:
        self.store = store
        self.services: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, dict[str, str]]] = {}
        self.logs: dict[str, str] = {}
        self.invoked: list[tuple[str, bytes]] = []
        self.endpoint = ""

    def answer(self, method: str, path: str, body: bytes, authorization: str) -> tuple[int, Any]:
        """The status and the body of an answer; text is sent as it is, anything else as JSON."""
        parts = path.partition("?")[0].strip("/").split("/")
        if parts == ["health"]:
            return 200, "Ok"
        if parts[0] == "job":
            return self._invoke(parts[1], body, authorization)
        if authorization != BASIC:
            return 401, "Unauthorized"
        if parts[:2] == ["system", "services"]:
            return self._services(method, parts[2:], body)
        if parts[:2] == ["system", "logs"]:
            return self._logs(method, parts[2:])
        return self._site(parts)

    def _site(self, parts: list[str]) -> tuple[int, Any]:
        if parts == ["system", "info"]:
            return 200, {"version": "v3.6.5", "git_commit": "0", "architecture": "amd64", "kubernetes_version": "v1.31"}
        if parts == ["system", "config"]:
            keys = {"access_key": self.store.access_key, "secret_key": self.store.secret_key}
            store = {"endpoint": self.store.endpoint, "verify": True, "region": "us-east-1", **keys}
            return 200, {"config": {"name": "oscar"}, "minio_provider": store, "allowed_image_repositories": []}
        return 404, "404 page not found"

    def _services(self, method: str, names: list[str], body: bytes) -> tuple[int, Any]:
        if method in ("POST", "PUT"):
            document = json.loads(body)
            name = document["name"]
            if (name in self.services) != (method == "PUT"):
                return (404, "not found") if method == "PUT" else (409, "A service with the provided name exists")
            self.services[name] = {**document, "token": "ab" * 32, "labels": {"server": "adds"}}
            return (201, "") if method == "POST" else (204, "")
        if not names:
            return 200, list(self.services.values())
        if names[0] not in self.services:
            return 404, f"Service {names[0]} not found"
        if method == "DELETE":
            del self.services[names[0]]
            return 204, ""
        return 200, self.services[names[0]]

    def _logs(self, method: str, names: list[str]) -> tuple[int, Any]:
        jobs = self.jobs.get(names[0], {})
        if len(names) == 1:
            return 200, {"jobs": jobs, "next_page": "", "remaining_jobs": 0}
        if names[1] not in jobs:
            return 404, "job not found"
        if method == "DELETE":
            del jobs[names[1]]
            return 204, ""
        return 200, self.logs.get(names[1], "")

    def _invoke(self, name: str, body: bytes, authorization: str) -> tuple[int, Any]:
        if authorization != f"Bearer {self.services[name]['token']}":
            return 401, "Unauthorized"
        self.invoked.append((name, body))
        return 201, ""


@contextlib.contextmanager
def existing_oscar(store: RcloneS3) -> Iterator[ExistingOscar]:
    """A server that answers until the block ends."""
    site = ExistingOscar(store)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            status, found = site.answer(self.command, self.path, self._body(), self.headers.get("Authorization", ""))
            text = found if isinstance(found, str) else json.dumps(found, separators=(",", ":"))
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if status != 204 else b"")

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        do_GET = do_POST = do_PUT = do_DELETE = _serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
