# SPDX-License-Identifier: Apache-2.0
"""Fixtures: an API on a small daemon, and clients of each identity. A ``conftest.py`` imports them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from parts.api_invoker import PASSWORD, ApiInvoker, Client

from oscar_fedcloud.api.app import create_app
from oscar_fedcloud.config import Config, ProviderConfig
from oscar_fedcloud.ledger import Ledger
from oscar_fedcloud.server.limits import Limits


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger file with its schema, to be copied: making the schema takes longer than most tests."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    Ledger.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    store = ProviderConfig(
        type="minio",
        endpoint="http://10.0.0.1:9000",
        public_endpoint="https://s3.example.org",
        access_key="site-access",
        secret_key="site-secret",
    )
    return Config(
        data_dir=str(tmp_path),
        admin_user="oscar",
        admin_password=PASSWORD,
        providers={"minio.default": store},
        max_body=200_000,
    )


@pytest.fixture
def invoker(config: Config, empty_ledger: Path) -> Iterator[ApiInvoker]:
    shutil.copy(empty_ledger, config.data / "ledger.db")
    ledger = Ledger.open(config.ledger_url)
    yield ApiInvoker(config, ledger)
    ledger.close()


@pytest.fixture
def limits(config: Config) -> Limits:
    return Limits(max_body=config.max_body, max_document=100_000, max_headers=40, max_header_bytes=4096)


@pytest.fixture
async def client(invoker: ApiInvoker, limits: Limits) -> AsyncIterator[Client]:
    """Makes clients of one application: ``client()`` is nobody, with ``auth=`` or ``token=`` it is somebody."""
    app = create_app(invoker, limits=limits)
    opened: list[httpx.AsyncClient] = []

    def make(token: str = "", **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        made = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://oscar.example", headers=headers, **options
        )
        opened.append(made)
        return made

    yield make
    for one in opened:
        await one.aclose()


@pytest.fixture
def admin(client: Client) -> httpx.AsyncClient:
    """The administrator."""
    return client(auth=("oscar", PASSWORD))


@pytest.fixture
def document() -> dict[str, Any]:
    """A small service."""
    return {
        "name": "grayify",
        "image": "ghcr.io/grycap/imagemagick",
        "script": "#!/bin/sh\ncp $INPUT_FILE_PATH $TMP_OUTPUT_DIR\n",
        "memory": "256Mi",
        "input": [{"storage_provider": "minio", "path": "pictures/in", "suffix": [".jpg"]}],
        "output": [{"storage_provider": "minio.default", "path": "pictures/out"}],
        "environment": {"variables": {"MODE": "fast"}, "secrets": {"API_KEY": "s3cr3t-value"}},
    }
