# SPDX-License-Identifier: Apache-2.0
"""Settings of stores and callbacks are checked before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from oscar_fedcloud.config import ConfigError, parse


def config(**settings: Any) -> dict[str, Any]:
    store = {"type": "folder", "endpoint": "http://127.0.0.1:1", **settings.pop("store", {})}
    return {"data_dir": "/nowhere", "admin_password": "x", "providers": {"minio.default": store}, **settings}


@pytest.mark.parametrize("settle", [-1, float("nan"), float("inf"), 1e9])
def test_a_time_to_settle_is_a_time(settle: float) -> None:
    with pytest.raises(ConfigError, match=r"providers\.minio\.default\.settle is"):
        parse(config(store={"settle": settle}))


def test_the_usual_settings() -> None:
    parsed = parse(config())
    assert parsed.providers["minio.default"].settle == 10.0
    assert parsed.callback_networks == ()
    assert not parsed.providers["minio.default"].shared_key


@pytest.mark.parametrize("network", ["10.0.0.1/8", "everywhere", "", "10.0.0.0/33"])
def test_a_network_for_callbacks_is_in_cidr_notation(network: str) -> None:
    with pytest.raises(ConfigError, match=r"callback_networks has .*CIDR"):
        parse(config(callback_networks=[network]))


def test_networks_for_callbacks() -> None:
    assert parse(config(callback_networks=["10.0.0.0/8", "::1/128"])).callback_networks == ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("ids", "named", "found"),
    [
        (["s3.a", "minio.default"], "", "minio.default"),
        (["s3.a", "s3.b"], "", "s3.a"),
        (["s3.a", "s3.b"], "s3.b", "s3.b"),
    ],
)
def test_one_store_is_the_sites_own(ids: list[str], named: str, found: str) -> None:
    store = {"type": "folder", "endpoint": "http://127.0.0.1:1"}
    assert parse(config(providers=dict.fromkeys(ids, store), site_store=named)).site_store_id == found


def test_the_sites_own_store_is_one_of_the_providers() -> None:
    with pytest.raises(ConfigError, match=r"site_store is 's3\.none', it must be one of the providers: minio\.default"):
        parse(config(site_store="s3.none"))
