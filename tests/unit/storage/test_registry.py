# SPDX-License-Identifier: Apache-2.0
"""The stores that the daemon works with follow what services bring along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.fdl import Service, parse_service
from oscar_fedcloud.storage.errors import StoreError
from oscar_fedcloud.storage.registry import make_provider
from oscar_fedcloud.storage.stores import StoreRegistry


@pytest.fixture
def stores() -> Iterator[StoreRegistry]:
    site = make_provider("minio.default", ProviderConfig(type="minio", endpoint="http://127.0.0.1:1"))
    made = StoreRegistry({"minio.default": site}, "minio.default")
    yield made
    made.close()


def reading(name: str, endpoint: str = "http://127.0.0.1:2", key: str = "k") -> Service:
    """A service that reads from a store that it brings along."""
    told = {"access_key": key, "secret_key": "s", "endpoint": endpoint, "region": "r"}
    return parse_service(
        {
            "name": name,
            "image": "none",
            "script": "true\n",
            "input": [{"storage_provider": f"s3.{name}", "path": "data/in"}],
            "storage_providers": {"s3": {name: told}},
        }
    )


async def test_a_store_is_there_as_long_as_a_service_reads_from_it(stores: StoreRegistry) -> None:
    stores.sync([reading("one"), reading("two")])
    assert list(stores) == ["minio.default", "s3.one", "s3.two"]
    assert await stores.run("s3.one", lambda: 5) == 5
    stores.sync([reading("two")])
    assert list(stores) == ["minio.default", "s3.two"]
    with pytest.raises(StoreError, match="no longer used by any service"):
        await stores.run("s3.one", lambda: 5)
    assert await stores.run("s3.two", lambda: 6) == 6
    stores.sync([])
    assert list(stores) == ["minio.default"]


@pytest.mark.parametrize("change", [{"endpoint": "http://127.0.0.1:3"}, {"key": "another"}])
def test_other_settings_are_another_store_and_the_same_ones_are_not(
    stores: StoreRegistry, change: dict[str, str]
) -> None:
    stores.sync([reading("one"), reading("two")])
    one, two = stores["s3.one"], stores["s3.two"]
    stores.sync([reading("one"), reading("two")])
    assert (stores["s3.one"], stores["s3.two"]) == (one, two)
    stores.sync([reading("one", **change), reading("two")])
    assert stores["s3.one"] is not one
    assert stores["s3.two"] is two
