# SPDX-License-Identifier: Apache-2.0
"""A whole site on loopback: MinIO, and the invoker behind its webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.daemon import Daemon
from parts.minio import MinioServer
from parts.ports import free_port


@dataclass(frozen=True)
class Site:
    """A store and the invoker behind it."""

    minio: MinioServer
    daemon: Daemon


def make_site(folder: Path, **settings: Any) -> Site:
    """A MinIO whose webhooks lead to an invoker; neither is started."""
    port = free_port()
    minio = MinioServer(folder / "minio", hooks=f"http://127.0.0.1:{port}/hooks/minio/minio.default")
    return Site(minio, Daemon(folder / "invoker", minio, port, **settings))


@contextmanager
def running_site(folder: Path, **settings: Any) -> Iterator[Site]:
    """The same, running."""
    site = make_site(folder, **settings)
    with site.minio, site.daemon:
        yield site


def file_service(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A service that takes files from ``<name>/in`` and writes to ``<name>/out``."""
    return {
        "name": name,
        "image": "none",
        "script": script,
        "input": [{"storage_provider": "minio", "path": f"{name}/in"}],
        "output": [{"storage_provider": "minio", "path": f"{name}/out"}],
        **more,
    }
