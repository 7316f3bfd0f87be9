# SPDX-License-Identifier: Apache-2.0
"""The invoker's configuration: one YAML file, checked completely before anything starts.

Every secret can be in a file of its own (``…_file``), so that the configuration itself may be readable by others. A
relative path names a credential passed by systemd (LoadCredential=), else it is relative to the working directory.
"""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import yaml

from oscar_fedcloud.fdl import OWN_STORE

_RUNNING_IN_CLUSTER = 3000  # Jobs; the scheduler finds nodes for them, but a cluster suffers from very many

_LONGEST_SETTLE = 86400.0  # s


class ConfigError(Exception):
    """The configuration cannot be used; the message names the field, the value and the remedy."""


class Hooks(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The connection of MinIO's two webhook targets. Two tokens are valid during a rotation."""

    fast: str = "oscarfast"  # name of the target without a queue
    durable: str = "oscardurable"  # name of the target with a queue directory
    tokens: tuple[str, ...] = ()
    tokens_file: str = ""  # one token per line


class ProviderConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One store. ``endpoint`` is used by the invoker and Jobs, ``public_endpoint`` is shown to users."""

    type: Literal["minio", "s3", "folder"]
    endpoint: str
    public_endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    secret_key_file: str = ""
    verify: bool | str = True  # False, True or the path of a CA bundle
    shared_key: bool = False  # whether Jobs may use this key if the store cannot create keys for services
    settle: float = 10.0  # type folder: s without a change until a file written into the folder is processed
    root: str = ""  # type folder: path of its files on this machine
    hooks: Hooks | None = None  # type minio: without hooks the store is polled


class _JobConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="type"):
    """Settings for Jobs on any launcher."""

    max_running: int = 0  # concurrent Jobs of all services; 0 means one per processor, or 3000 in a cluster
    staging_timeout: float = 600.0  # s
    log_max: int = 10 * 1024 * 1024  # bytes kept of a Job's log


class LauncherConfig(_JobConfig, kw_only=True, frozen=True, tag="process"):
    """Settings for Jobs as processes on this machine."""

    kind: ClassVar[str] = "process"
    container: Literal["auto", "never", "require"] = "never"
    rclone: str = "rclone"
    path: tuple[str, ...] = ("/usr/local/bin", "/usr/bin", "/bin")  # the PATH of Jobs
    nice: int = 5
    log_total: int = 1024**3  # bytes of ended Jobs' logs kept on this machine; the log bucket also has them


class KubernetesConfig(_JobConfig, kw_only=True, frozen=True, tag="kubernetes"):
    """Settings for Jobs in a Kubernetes cluster."""

    kind: ClassVar[str] = "kubernetes"
    kubeconfig: str = ""  # empty means the service account of the invoker's Pod
    context: str = ""  # of the kubeconfig; empty means its current one
    namespace: str = "oscar-services"
    tools: Literal["auto", "image", "copy"] = "auto"  # how rclone gets into a Job: image volume, or init container
    tools_image: str = "docker.io/rclone/rclone:1.75.2"
    tools_rclone: str = "/usr/local/bin/rclone"  # its path in that image
    pod_security: Literal["restricted", "baseline"] = "restricted"  # for services that set none
    run_as_user: int = 1000  # under "restricted", for services that set none
    gpu_resource: str = "nvidia.com/gpu"
    disk_limit: int = (
        20 * 1024**3
    )  # bytes of disk that a Job may use on its node: files, image layer, log; 0 means no limit
    job_ttl: int = 300  # s for which an ended Job is kept in the cluster
    image_timeout: float = 300.0  # s after which an image that cannot be pulled ends the attempt
    # s without a node for any Pod of a service, after which an attempt ends; 0 means never
    schedule_timeout: float = 3600.0

    @property
    def rclone(self) -> str:
        """The path of rclone in a Job, however it is provided."""
        return f"/oscar/tools{self.tools_rclone}"


class CatalogueConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The repository of the declared services. The access to a cluster defaults to that of the launcher."""

    type: Literal["folder", "kubernetes"] = "folder"
    kubeconfig: str = ""  # empty means that of the launcher; if it has none, the invoker's Pod
    context: str = ""  # of the kubeconfig; empty means its current one
    namespace: str = "oscar-services"
    revisions: int = 10  # type kubernetes: number of earlier revisions kept for a service


class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """All settings of ``oscar-invoker``. Intervals and ages are seconds, sizes are bytes."""

    data_dir: str
    listen: str = "127.0.0.1:8080"
    public_url: str = ""
    admin_user: str = "oscar"
    admin_password: str = ""
    admin_password_file: str = ""
    monitor_token: str = ""  # bearer token that reads metrics and readiness; empty means none
    monitor_token_file: str = ""
    ledger: str = ""  # SQLAlchemy URL; empty means SQLite in data_dir
    providers: dict[str, ProviderConfig]
    site_store: str = ""  # the provider that is the site's own store; empty means minio.default, else the first
    launcher: LauncherConfig | KubernetesConfig = LauncherConfig()
    catalogue: CatalogueConfig = CatalogueConfig()
    internal_bucket: str = "oscar-internal"
    log_bucket: str = "oscar-logs"
    poll_interval: float = 1.0
    listing_interval: float = 3600.0
    reconcile_interval: float = 60.0
    retention: float = 30 * 24 * 3600.0  # age at which ended jobs are removed from the history
    max_depth: int = 16  # longest chain of services that one upload may start
    max_body: int = 512 * 1024 * 1024
    max_pending: int = 0  # bytes of request bodies held at the same time; 0 means twice max_body
    max_connections: int = 1024
    cors_origins: tuple[str, ...] = ("*",)
    # CIDR; networks that callbacks may be sent to, in addition to public addresses
    callback_networks: tuple[str, ...] = ()
    show_store_keys: bool = True  # the store's keys in /system/config, for the administrator only

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.data_dir)

    @property
    def ledger_url(self) -> str:
        """The URL of the ledger."""
        return self.ledger or f"sqlite:///{self.data.absolute() / 'ledger.db'}"

    @property
    def site_store_id(self) -> str:
        """The id of the site's own store, which holds logs and the bodies of requests."""
        return self.site_store or (OWN_STORE if OWN_STORE in self.providers else next(iter(self.providers)))

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]") or "127.0.0.1"

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def url(self) -> str:
        """The address shown to users."""
        return self.public_url or f"http://{self.listen}"

    @property
    def max_running(self) -> int:
        """The number of concurrent Jobs of all services."""
        in_cluster = isinstance(self.launcher, KubernetesConfig)
        return self.launcher.max_running or (_RUNNING_IN_CLUSTER if in_cluster else os.cpu_count() or 1)


def load(path: str | Path) -> Config:
    """Read and check a configuration file, including the secrets in ``…_file`` fields. Raises ConfigError."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration {path} is not YAML: {error}") from error
    return parse(data)


def parse(data: Any) -> Config:
    """Check plain data and convert it to a Config. Raises ConfigError."""
    if not isinstance(data, dict):
        raise ConfigError(f"the configuration is {type(data).__name__}, it must be a mapping")
    _fill_secret(data, "admin_password")
    _fill_secret(data, "monitor_token")
    for provider in (data.get("providers") or {}).values():
        if isinstance(provider, dict):
            _fill_secret(provider, "secret_key")
            _fill_tokens(provider.get("hooks"))
    if isinstance(launcher := data.get("launcher"), dict):
        launcher.setdefault("type", "process")
    _share_access(data.get("launcher"), data.get("catalogue"))
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}") from error
    _check(config)
    return config


def _fill_secret(data: dict[str, Any], name: str) -> None:
    if path := data.get(f"{name}_file"):
        data[name] = read_secret(path)


def _fill_tokens(hooks: Any) -> None:
    if isinstance(hooks, dict) and (path := hooks.get("tokens_file")):
        hooks["tokens"] = tuple(read_secret(path).split())


def _share_access(launcher: Any, catalogue: Any) -> None:
    """Let the catalogue use the cluster of the launcher unless it has its own settings."""
    if isinstance(launcher, dict) and isinstance(catalogue, dict) and launcher.get("type") == "kubernetes":
        shared = ("namespace",) if "kubeconfig" in catalogue else ("kubeconfig", "context", "namespace")
        for field in shared:
            if field in launcher:
                catalogue.setdefault(field, launcher[field])


def read_secret(path: str) -> str:
    """Return the secret in a file; a relative path is a credential passed by systemd. Raises ConfigError."""
    try:
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", ""), path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"secret file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"secret file {path} is not text") from error


def _check(config: Config) -> None:
    if not config.admin_password:
        raise ConfigError("admin_password is empty: give it, or admin_password_file")
    host, _, port = config.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"listen is {config.listen!r}, it must be ADDRESS:PORT such as 127.0.0.1:8080")
    _check_stores(config)
    if config.catalogue.revisions < 1 or not config.catalogue.namespace:
        raise ConfigError("catalogue.revisions must be at least 1, and catalogue.namespace a name")
    if isinstance(config.launcher, KubernetesConfig):
        _check_kubernetes(config.launcher)
    for network in config.callback_networks:
        _check_network(network)
    for field in ("poll_interval", "listing_interval", "reconcile_interval"):
        if getattr(config, field) <= 0:
            raise ConfigError(f"{field} is {getattr(config, field)}, it must be more than 0 seconds")


def _check_stores(config: Config) -> None:
    if config.site_store and config.site_store not in config.providers:
        known = ", ".join(config.providers)
        raise ConfigError(f"site_store is {config.site_store!r}, it must be one of the providers: {known}")
    for name, provider in config.providers.items():
        if provider.type == "minio" and provider.hooks and not provider.hooks.tokens:
            raise ConfigError(f"providers.{name}.hooks has no tokens: give tokens, or tokens_file")
        if not 0 <= provider.settle <= _LONGEST_SETTLE:
            raise ConfigError(
                f"providers.{name}.settle is {provider.settle}, it must be from 0 to {_LONGEST_SETTLE} seconds"
            )


def _check_network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"callback_networks has {text!r}, it must be a network in CIDR notation such as 10.0.0.0/8"
        ) from error


def _check_kubernetes(launcher: KubernetesConfig) -> None:
    for field in ("tools_image", "tools_rclone", "namespace"):
        if not getattr(launcher, field):
            raise ConfigError(f"launcher.{field} is empty")
    if not launcher.tools_rclone.startswith("/"):
        raise ConfigError(f"launcher.tools_rclone is {launcher.tools_rclone!r}, it must be an absolute path")
    for field in ("job_ttl", "image_timeout", "run_as_user"):
        if getattr(launcher, field) <= 0:
            raise ConfigError(f"launcher.{field} is {getattr(launcher, field)}, it must be more than 0")
    if launcher.disk_limit < 0:
        raise ConfigError(f"launcher.disk_limit is {launcher.disk_limit}, it must be 0 (no limit) or more bytes")
    if launcher.schedule_timeout < 0:
        raise ConfigError(f"launcher.schedule_timeout is {launcher.schedule_timeout}, it must be 0 or more")
