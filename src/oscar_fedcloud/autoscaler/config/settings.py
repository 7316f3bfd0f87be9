# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's configuration, ``autoscaler.yml``: checked whole before anything starts.

Secrets stand in files of their own (``…_file``), as in the invoker's configuration. Times are seconds.
"""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec

from oscar_fedcloud.autoscaler.model import Pool, Rules, SiteLimits, Taint
from oscar_fedcloud.autoscaler.quantities import available, parse_quantity
from oscar_fedcloud.config import read_secret

_PODS = 110  # that a kubelet takes unless told otherwise


class _Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A part of the configuration."""


class InvokerConfig(_Struct, kw_only=True, frozen=True):
    """Where the backlog is asked for, and with which secret: the monitor token, or a user's password."""

    url: str
    token_file: str = ""
    user: str = "oscar"
    password_file: str = ""
    verify: bool | str = True  # False, True or the path of a CA bundle

    def authorization(self) -> str:
        """Return the header of that name; the secret is read each time, as it may be rotated. Raises ConfigError."""
        if self.token_file:
            return f"Bearer {read_secret(self.token_file)}"
        pair = f"{self.user}:{read_secret(self.password_file)}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"


class LimitsConfig(_Struct, kw_only=True, frozen=True):
    """Of all our nodes together; nothing given = no limit."""

    nodes: int | None = None
    cpu: str | int | float | None = None
    memory: str | int | None = None


class TaintConfig(_Struct, kw_only=True, frozen=True):
    """A taint that the nodes of a pool have."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class MinimumConfig(_Struct, kw_only=True, frozen=True):
    """At the times of a cron line, the smallest number of machines becomes ``min``."""

    cron: str
    min: int


class PoolConfig(_Struct, kw_only=True, frozen=True):
    """Machines of one kind. capacity: what Pods get of one node, as the kubelet reports it (``allocatable``)."""

    name: str
    cloud: str
    template: dict[str, Any]
    capacity: dict[str, str | int | float]
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
    packages: tuple[str, ...] | None = None  # instead of join.packages
    files: dict[str, str] = {}  # added to join.files, or instead of one of them


class JoinConfig(_Struct, kw_only=True, frozen=True):
    """What a new machine is told to become a node. The cluster's own kubelet settings come from the cluster."""

    server: str = ""  # HOST:PORT of the API server for machines; "" = that of the kubeconfig
    ca_hashes: tuple[str, ...] = ()  # sha256:… of the CA's public key; () = from the CA of the kubeconfig
    packages: tuple[str, ...] = ()  # for apt, e.g. kubelet=1.36.4-*; () = the image holds everything
    files: dict[str, str] = {}  # path -> content; anyone who may read a machine's user data sees them
    commands: tuple[str, ...] = ()  # shell commands before kubeadm
    ignore_preflight_errors: tuple[str, ...] = ()
    kubelet_args: dict[str, str] = {}
    cri_socket: str = "unix:///run/containerd/containerd.sock"
    provider_id: bool = True  # whether nodes get one of ours; false where a cloud controller manager sets it


class AutoscalerConfig(_Struct, kw_only=True, frozen=True):
    """All settings of ``oscar-autoscaler``."""

    cluster: str  # machines are called <cluster>-<pool>-xxxxx
    pools: tuple[PoolConfig, ...]
    clouds: dict[str, dict[str, Any]]
    data_dir: str = "/var/lib/oscar-autoscaler"
    kubeconfig: str = ""  # "" = the access of the Pod around us
    listen: str = "127.0.0.1:8090"
    namespace: str = "oscar"  # of the Lease
    invoker: InvokerConfig | None = None
    external: dict[str, Any] | None = (
        None  # serve Cluster Autoscaler, which decides then: external.server.ExternalConfig
    )
    limits: LimitsConfig = LimitsConfig()
    join: JoinConfig = JoinConfig()
    scan_interval: float = 10.0  # between decisions when nothing changes
    batch_window: float = 0.05  # in which changes are collected before a decision
    cloud_interval: float = 15.0  # between looks at what the clouds have
    cordon_pause: float = 5.0  # between cordon and the last look at a node
    drain_timeout: float = 600.0  # that Pods may take to leave a node
    unready_share: float = 0.45  # of nodes not ready, above which nothing is removed
    missing_timeout: float = 300.0  # that a node or a VM must be missing before its machine counts as lost
    lease_duration: float = 15.0  # after which another autoscaler may take over
    report_days: float = 90.0  # that the history of the report goes back

    @property
    def host(self) -> str:
        """Address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port to listen on."""
        return int(self.listen.rpartition(":")[2])

    def pool(self, name: str) -> PoolConfig | None:
        """The pool of this name."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def model_pools(self) -> tuple[Pool, ...]:
        """The pools as decisions take them."""
        return tuple(model_pool(pool) for pool in self.pools)

    def rules(self) -> Rules:
        """What decisions follow for all pools together."""
        cpu, memory = self.limits.cpu, self.limits.memory
        limits = SiteLimits(
            nodes=self.limits.nodes,
            cpu=None if cpu is None else parse_quantity(cpu, "cpu", up=False),
            memory=None if memory is None else parse_quantity(memory, "memory", up=False),
        )
        return Rules(limits=limits, cordon_pause=self.cordon_pause, unready_share=self.unready_share)


def model_pool(pool: PoolConfig) -> Pool:
    """A pool as decisions take it."""
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
