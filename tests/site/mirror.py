# SPDX-License-Identifier: Apache-2.0
"""Everything that the site installs, on this machine: apt repository, files, Python packages and images."""

from __future__ import annotations

import shutil
import sys
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import images
import once
import processes
import registry
import repository
import wheels
from run import SiteError, sha256, wait_until, write
from settings import BIN, CONTROLLER, FILES_PORT, LOGS, REGISTRY, WWW


@dataclass(frozen=True)
class Server:
    """A process that serves a part of the mirror."""

    name: str
    url: str
    command: Callable[[], Sequence[str | Path]]

    def up(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if processes.pid(self.name) is None:
            processes.start(self.name, self.command())
        wait_until(f"{self.url} answers", self._answers_or_died, seconds=30)

    def state(self) -> str:
        """``off``, ``starting`` or ``running``."""
        if processes.pid(self.name) is None:
            return "off"
        return "running" if self._answers() else "starting"

    def _answers_or_died(self) -> bool:
        if processes.pid(self.name) is None:
            raise SiteError(f"The server at {self.url} went off; see {LOGS / self.name}.log. Is its port in use?")
        return self._answers()

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(self.url, timeout=5) as response:
            return bool(response.status == 200)
        return False


def _serve_files() -> list[str | Path]:
    return [sys.executable, "-m", "http.server", str(FILES_PORT), "--bind", CONTROLLER, "--directory", WWW]


SERVERS = (
    Server("files", f"http://{CONTROLLER}:{FILES_PORT}/", _serve_files),
    Server("registry", f"http://{REGISTRY}/v2/", registry.command),
)


def serve() -> None:
    """Start what does not run yet."""
    WWW.mkdir(parents=True, exist_ok=True)
    for server in SERVERS:
        server.up()


def fill() -> None:
    """Put everything into the mirror that is missing or has changed. The mirror must be served."""
    _files()
    repository.build(images.runc())
    wheels.build()
    registry.fill()


def down() -> None:
    """Stop serving."""
    for server in SERVERS:
        processes.stop(server.name)


def _files() -> None:
    """MinIO, and the one to upgrade to where it was built."""
    for binary in filter(Path.exists, (BIN / "minio", BIN / "minio-next")):
        target = WWW / "files" / binary.name
        with once.making(target, once.stat(binary)) as needed:
            if needed:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(binary, target)
                write(target.with_suffix(".sha256"), f"{sha256(target)}  {target.name}\n")
