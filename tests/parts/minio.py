# SPDX-License-Identifier: Apache-2.0
"""A real MinIO server on loopback, with the two webhook targets of the invoker."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException, MinioException
from parts.ports import free_port
from parts.server import Server
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError


def minio_binary(name: str = "minio") -> Path:
    """The server that ``make`` built: $OSCAR_TEST_MINIO, else the one in the cache.

    name: ``minio-clock`` for one whose clock can be shifted.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    given = os.environ.get("OSCAR_TEST_MINIO") if name == "minio" else None
    path = Path(given or cache / "fedcloud-oscar" / "bin" / name)
    if not path.is_file():
        raise FileNotFoundError(f"MinIO server not found at {path}: build it, or set OSCAR_TEST_MINIO")
    return path


class MinioServer(Server):
    """One server process; ``start`` and ``stop`` may be called again and again, data and address stay.

    hooks: base URL of the invoker's webhook, e.g. ``http://127.0.0.1:8080/hooks/minio/minio.default``; ``/fast`` and
    ``/durable`` are added. environment: more of the server's settings.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        hooks: str = "",
        region: str = "",
        environment: Mapping[str, str] | None = None,
        program: str = "minio",
    ) -> None:
        self.folder = Path(folder or tempfile.mkdtemp(prefix="oscar-minio-"))
        self.scratch = None if folder else self.folder
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.region = region
        self.hooks = hooks
        self.environment = dict(environment or {})
        self.program = program
        self.access_key, self.secret_key = "oscar-root", secrets.token_hex(16)
        self.fast_token, self.durable_token = secrets.token_hex(16), secrets.token_hex(16)
        self._log: IO[bytes] | None = None

    @property
    def log_file(self) -> Path:
        return self.folder / "minio.log"

    def start(self, timeout: float = 30.0) -> MinioServer:
        """Start the server and wait until it serves."""
        for name in ("data", "queue"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._log = self.log_file.open("ab")
        address = f"127.0.0.1:{self.port}"
        command = [
            str(minio_binary(self.program)),
            "server",
            "--quiet",
            "--address",
            address,
            "--console-address",
            "127.0.0.1:0",
        ]
        self._process = subprocess.Popen(
            [*command, str(self.folder / "data")], env=self._environment(), stdout=self._log, stderr=subprocess.STDOUT
        )
        self._wait_ready(time.monotonic() + timeout)
        return self

    def client(self, access_key: str = "", secret_key: str = "") -> Minio:
        """An S3 client that does not repeat requests, with the root key unless another one is given."""
        return Minio(
            f"127.0.0.1:{self.port}",
            access_key or self.access_key,
            secret_key or self.secret_key,
            secure=False,
            region=self.region or "us-east-1",
            http_client=PoolManager(retries=False, timeout=60.0),
        )

    def admin(self) -> MinioAdmin:
        """An admin client with the root key."""
        return MinioAdmin(
            endpoint=f"127.0.0.1:{self.port}",
            credentials=StaticProvider(self.access_key, self.secret_key),
            secure=False,
            http_client=PoolManager(retries=False, timeout=60.0),
        )

    def _environment(self) -> dict[str, str]:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_CI_CD": "1",
            "MINIO_UPDATE": "off",
        }
        if self.region:
            environment["MINIO_SITE_REGION"] = self.region
        if self.hooks:
            environment |= self._target("oscarfast", "fast", self.fast_token)
            environment |= self._target("oscardurable", "durable", self.durable_token)
            environment["MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_oscardurable"] = str(self.folder / "queue")
        return environment | self.environment

    def _target(self, name: str, path: str, token: str) -> dict[str, str]:
        return {
            f"MINIO_NOTIFY_WEBHOOK_ENABLE_{name}": "on",
            f"MINIO_NOTIFY_WEBHOOK_ENDPOINT_{name}": f"{self.hooks}/{path}",
            f"MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_{name}": token,
        }

    def _wait_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(MinioException, MinioAdminException, HTTPError):
                self.client().list_buckets()
                if not self.hooks or ":oscardurable:" in self.admin().info():  # targets are loaded last
                    return
            time.sleep(0.05)
        tail = self.log_file.read_text(errors="replace")[-2000:]
        self._end(signal.SIGKILL)
        raise RuntimeError(f"MinIO did not become ready:\n{tail}")

    def _end(self, sig: signal.Signals) -> None:
        super()._end(sig)
        if self._log is not None:
            self._log.close()
            self._log = None
