# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemons would refuse, told before anything is installed: stores of the invoker, pools of the autoscaler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

Value = Callable[[str], Any]


def problems(value: Value, roles: Sequence[str]) -> list[str]:
    """Return sentences about the daemons' settings. `value` gives a variable, or its default."""
    return [*_stores(value), *(_pools(value) if "autoscaler" in roles else ())]


def _stores(value: Value) -> Iterator[str]:
    """A store of type s3 may make no key for each service; then the administrator decides about its own."""
    launcher = _mapping(value("invoker_launcher")).get("type", "kubernetes")
    if launcher != "kubernetes":
        return  # on a single machine there is one user
    settings = _mapping(_mapping(value("invoker_settings")).get("providers"))
    for name, given in {**settings, **_mapping(value("invoker_providers"))}.items():
        store = _mapping(given)
        if store.get("type") == "s3" and store.get("access_key") and "shared_key" not in store:
            yield (
                f"The store {name} in invoker_providers has type s3 and no shared_key; it must be true if all Jobs "
                "may use the store's one key, or false if the store makes a key for each service."
            )


def _pools(value: Value) -> Iterator[str]:
    clouds, pools = _mapping(value("autoscaler_clouds")), value("autoscaler_pools") or []
    for name, given, purpose in (
        ("autoscaler_clouds", clouds, "cloud that machines come from"),
        ("autoscaler_pools", pools, "pool of machines"),
    ):
        if not given:
            yield f"{name} is empty; it must name at least one {purpose}, or site_autoscaler must be false."
    for index, pool in enumerate(pools):
        cloud = _mapping(pool).get("cloud", "")
        if clouds and cloud not in clouds:
            yield f"autoscaler_pools[{index}].cloud is {cloud!r}; it must be one of {', '.join(clouds)}."


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
