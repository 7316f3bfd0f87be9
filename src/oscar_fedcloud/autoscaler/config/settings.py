# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's configuration, ``autoscaler.yml``, which is validated completely before anything starts.

Secrets are in separate files (``…_file``), as in the invoker's configuration. Times are in seconds.
"""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec

from oscar_fedcloud.autoscaler.model import Pool, Rules, SiteLimits, Taint
from oscar_fedcloud.autoscaler.quantities import available, parse_quantity
from oscar_fedcloud.config import read_secret

_PODS = 110  # default limit of a kubelet


class _Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A part of the configuration."""


class InvokerConfig(_Struct, kw_only=True, frozen=True):
    """The URL of the invoker, and the secret for its backlog: the monitor token, or a user's password."""

    url: str
    token_file: str = ""
    user: str = "oscar"
    password_file: str = ""
    verify: bool | str = True  # False, True or the path of a CA bundle

    def authorization(self) -> str:
        """Return the Authorization header. The secret is read each time, as it may be rotated. Raises ConfigError."""
        if self.token_file:
            return f"Bearer {read_secret(self.token_file)}"
        pair = f"{self.user}:{read_secret(self.password_file)}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"


class LimitsConfig(_Struct, kw_only=True, frozen=True):
    """Limits of all managed nodes together. An omitted one is unlimited."""

    nodes: int | None = None
    cpu: str | int | float | None = None
    memory: str | int | None = None


class TaintConfig(_Struct, kw_only=True, frozen=True):
    """A taint of a pool's nodes."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class MinimumConfig(_Struct, kw_only=True, frozen=True):
    """From the times of a cron expression on, the pool's minimum is ``min``."""

    cron: str
    min: int


class PoolConfig(_Struct, kw_only=True, frozen=True):
    """A pool of machines of one kind."""

    name: str
    cloud: str
    template: dict[str, Any]
    capacity: dict[str, str | int | float]  # of one node, as the kubelet reports it (``allocatable``)
    labels: dict[str, str] = {}
    taints: tuple[TaintConfig, ...] = ()
    min: int = 0
    max: int = 10
    priority: int = 0
    price: float = 0.0  # of one node and hour, in any currency
    watts: float = 0.0  # of one node
    spares: int = 0
    minimums: tuple[MinimumConfig, ...] = ()
    timezone: str = "UTC"  # of ``minimums``
    idle: float = 300.0
    startup_timeout: float = 900.0
    stop_instead: bool = False
    packages: tuple[str, ...] | None = None  # replaces join.packages
    files: dict[str, str] = {}  # added to join.files, replacing those of the same path


class JoinConfig(_Struct, kw_only=True, frozen=True):
    """How a new machine becomes a node. The kubelet's settings come from the cluster."""

    server: str = ""  # HOST:PORT of the API server for machines; empty means that of the kubeconfig
    ca_hashes: tuple[str, ...] = ()  # sha256:… of the CA's public key; empty means the CA of the kubeconfig
    packages: tuple[str, ...] = ()  # for apt, e.g. kubelet=1.36.4-*; empty if the image contains everything
    files: dict[str, str] = {}  # path -> content; readable by anyone who may read a machine's user data
    commands: tuple[str, ...] = ()  # shell commands before kubeadm
    ignore_preflight_errors: tuple[str, ...] = ()
    kubelet_args: dict[str, str] = {}
    cri_socket: str = "unix:///run/containerd/containerd.sock"
    provider_id: bool = True  # whether to set it on nodes; false if a cloud controller manager sets it


class AutoscalerConfig(_Struct, kw_only=True, frozen=True):
    """All settings of ``oscar-autoscaler``."""

    cluster: str  # machines are named <cluster>-<pool>-xxxxx
    pools: tuple[PoolConfig, ...]
    clouds: dict[str, dict[str, Any]]
    data_dir: str = "/var/lib/oscar-autoscaler"
    kubeconfig: str = ""  # empty means the service account of the Pod
    listen: str = "127.0.0.1:8090"
    namespace: str = "oscar"  # of the Lease
    invoker: InvokerConfig | None = None
    external: dict[str, Any] | None = None  # external.server.ExternalConfig; if set, Cluster Autoscaler decides
    limits: LimitsConfig = LimitsConfig()
    join: JoinConfig = JoinConfig()
    scan_interval: float = 10.0  # between decisions when nothing changes
    batch_window: float = 0.05  # during which changes are collected before a decision
    cloud_interval: float = 15.0  # between reconciliations with the clouds
    cordon_pause: float = 5.0  # between cordon and the final check of a node
    drain_timeout: float = 600.0  # that Pods may take to leave a node
    unready_share: float = 0.45  # of nodes not ready, above which nothing is removed
    missing_timeout: float = 300.0  # after which a machine without a node or VM counts as lost
    lease_duration: float = 15.0  # after which another autoscaler may take over
    report_days: float = 90.0  # of history for the report

    @property
    def host(self) -> str:
        """Return the address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the port to listen on."""
        return int(self.listen.rpartition(":")[2])

    def pool(self, name: str) -> PoolConfig | None:
        """Return the pool of this name, or None."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def model_pools(self) -> tuple[Pool, ...]:
        """Return the pools for decisions."""
        return tuple(model_pool(pool) for pool in self.pools)

    def rules(self) -> Rules:
        """Return the settings that apply to all pools."""
        cpu, memory = self.limits.cpu, self.limits.memory
        limits = SiteLimits(
            nodes=self.limits.nodes,
            cpu=None if cpu is None else parse_quantity(cpu, "cpu", up=False),
            memory=None if memory is None else parse_quantity(memory, "memory", up=False),
        )
        return Rules(limits=limits, cordon_pause=self.cordon_pause, unready_share=self.unready_share)


def model_pool(pool: PoolConfig) -> Pool:
    """Return a pool for decisions."""
    return Pool(
        name=pool.name,
        cloud=pool.cloud,
        template=pool.template,
        capacity={"pods": _PODS} | available(pool.capacity),
        labels=pool.labels,
        taints=tuple(Taint(each.key, each.value, each.effect) for each in pool.taints),
        min=pool.min,
        max=pool.max,
        priority=pool.priority,
        price=pool.price,
        watts=pool.watts,
        spares=pool.spares,
        minimums=tuple((each.cron, each.min) for each in pool.minimums),
        timezone=pool.timezone,
        idle=pool.idle,
        startup_timeout=pool.startup_timeout,
        stop_instead=pool.stop_instead,
    )
