# SPDX-License-Identifier: Apache-2.0
"""Validate a configuration whose types are correct. Each problem is one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.config.settings import AutoscalerConfig, PoolConfig
from oscar_fedcloud.autoscaler.names import LONGEST_NAME, SUFFIX
from oscar_fedcloud.autoscaler.planning.minimums import problem
from oscar_fedcloud.autoscaler.quantities import parse_quantity
from oscar_fedcloud.config import ConfigError

if TYPE_CHECKING:
    from oscar_fedcloud.autoscaler.external.server import ExternalConfig

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_SERVER = re.compile(r"(\[[0-9a-f:]+\]|[^:/\s]+):[0-9]{1,5}")
_LISTEN = re.compile(r".+:[0-9]{1,5}")
# Labels in Kubernetes' own namespaces that a kubelet may set on its node (NodeRestriction).
_OWN_LABELS = re.compile(r"([^/]+\.)?(kubernetes|k8s)\.io/")
_KUBELET_LABELS = re.compile(r"(kubelet|node)\.kubernetes\.io/")
_POSITIVE = ("scan_interval", "cloud_interval", "drain_timeout", "missing_timeout", "lease_duration", "report_days")


def problems(config: AutoscalerConfig) -> list[str]:
    """Return all problems, each a sentence naming the field, its value and the remedy."""
    pools = (each for pool in config.pools for each in _pool(pool))
    return [*_whole(config), *_invoker(config), *_join(config), *_clouds(config), *_external(config), *pools]


def _whole(config: AutoscalerConfig) -> Iterator[str]:
    if not _NAME.fullmatch(config.cluster):
        yield f"cluster is {config.cluster!r}, it must be lower-case letters, digits and hyphens, as in a host name"
    if not _LISTEN.fullmatch(config.listen):
        yield f"listen is {config.listen!r}, it must be ADDRESS:PORT such as 127.0.0.1:8090"
    for field in _POSITIVE:
        if (value := getattr(config, field)) <= 0:
            yield f"{field} is {value}, it must be more than 0"
    if not 0 <= config.batch_window <= 5:
        yield f"batch_window is {config.batch_window}, it must be between 0 and 5 seconds"
    if config.cordon_pause < 5:
        yield f"cordon_pause is {config.cordon_pause}, it must be at least 5 seconds: Pods may be on their way"
    if not 0 < config.unready_share <= 1:
        yield f"unready_share is {config.unready_share}, it must be above 0 and at most 1"
    names = [pool.name for pool in config.pools]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"pools has two pools of the name {name!r}, each needs its own"
    for name in ("cpu", "memory"):
        if (given := getattr(config.limits, name)) is not None:
            yield from _quantity(f"limits.{name}", name, given)
    if config.limits.nodes is not None and config.limits.nodes < 0:
        yield f"limits.nodes is {config.limits.nodes}, it must be 0 or more"


def _invoker(config: AutoscalerConfig) -> Iterator[str]:
    asked = config.invoker
    if asked and bool(asked.token_file) == bool(asked.password_file):
        yield "invoker needs either token_file (the monitor token) or password_file"


def _join(config: AutoscalerConfig) -> Iterator[str]:
    join = config.join
    if join.server and not _SERVER.fullmatch(join.server):
        yield f"join.server is {join.server!r}, it must be HOST:PORT such as 10.0.0.10:6443"
    for text in join.ca_hashes:
        if not _HASH.fullmatch(text):
            yield f"join.ca_hashes has {text!r}, it must be sha256: and 64 hexadecimal digits"
    for path in (*join.files, *(path for pool in config.pools for path in pool.files)):
        if not path.startswith("/"):
            yield f"join.files has the path {path!r}, it must be an absolute one"


def _clouds(config: AutoscalerConfig) -> Iterator[str]:
    clouds = {}
    for name, settings in config.clouds.items():
        try:
            clouds[name] = build(name, config.cluster, settings)
        except ConfigError as error:
            yield str(error)
    for pool in config.pools:
        if pool.cloud not in config.clouds:
            known = ", ".join(sorted(config.clouds)) or "none"
            yield f"pools.{pool.name}.cloud is {pool.cloud!r}, it must be one of clouds: {known}"
        elif cloud := clouds.get(pool.cloud):
            yield from (f"pools.{pool.name}.{sentence}" for sentence in cloud.check(pool.template))
            if pool.stop_instead and not cloud.can_stop:
                yield f"pools.{pool.name}.stop_instead is true, but the cloud {pool.cloud} cannot stop machines"
    longest = LONGEST_NAME - SUFFIX - 2
    for pool in config.pools:
        if len(config.cluster) + len(pool.name) > longest:
            yield f"cluster and pools.{pool.name} are too long together for a host name: at most {longest} characters"


def _external(config: AutoscalerConfig) -> Iterator[str]:
    if config.external is not None:
        try:
            external_config(config.external)
        except ConfigError as error:
            yield str(error)


def external_config(settings: Mapping[str, Any]) -> ExternalConfig:
    """Return the settings of the server for Cluster Autoscaler. Raises ConfigError."""
    try:
        from oscar_fedcloud.autoscaler.external.server import ExternalConfig
    except ImportError as error:
        raise ConfigError("external needs more packages: install oscar-fedcloud[externalgrpc]") from error
    try:
        found = msgspec.convert(settings, ExternalConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"external: {error}") from error
    found.check()
    return found


def _pool(pool: PoolConfig) -> Iterator[str]:
    where = f"pools.{pool.name}"
    if not _NAME.fullmatch(pool.name):
        yield f"{where}.name must be lower-case letters, digits and hyphens, as in a host name"
    if not 0 <= pool.min <= pool.max:
        yield f"{where}.min is {pool.min}, it must be between 0 and max, which is {pool.max}"
    for field in ("price", "watts", "spares", "idle"):
        if (value := getattr(pool, field)) < 0:
            yield f"{where}.{field} is {value}, it must be 0 or more"
    if pool.startup_timeout <= 0:
        yield f"{where}.startup_timeout is {pool.startup_timeout}, it must be more than 0 seconds"
    for name in ("cpu", "memory"):
        if name not in pool.capacity:
            yield f"{where}.capacity has no {name}: give what the kubelet reports as allocatable"
    for name, value in pool.capacity.items():
        yield from _quantity(f"{where}.capacity.{name}", name, value)
    yield from _labels(where, pool)
    yield from _minimums(where, pool)


def _quantity(where: str, resource: str, value: str | int | float) -> Iterator[str]:
    try:
        if parse_quantity(value, resource, up=False) < 0:
            raise ValueError("negative")
    except ValueError:
        yield f"{where} is {value!r}, it must be a quantity such as 4, 3920m or 7.5Gi"


def _labels(where: str, pool: PoolConfig) -> Iterator[str]:
    for name in pool.labels:
        if _OWN_LABELS.match(name) and not _KUBELET_LABELS.match(name):
            yield (
                f"{where}.labels has {name!r}, which a node may not give itself: "
                "use a name that does not end in kubernetes.io or k8s.io"
            )


def _minimums(where: str, pool: PoolConfig) -> Iterator[str]:
    for each in pool.minimums:
        if not 0 <= each.min <= pool.max:
            yield f"{where}.minimums has the min {each.min}, it must be between 0 and max, which is {pool.max}"
        if wrong := problem(each.cron, pool.timezone):
            yield f"{where}.minimums: {wrong}"
