# SPDX-License-Identifier: Apache-2.0
"""Create the configured launcher. Only this module knows the types."""

from __future__ import annotations

from pathlib import Path

from oscar_fedcloud.config import Config, KubernetesConfig, LauncherConfig
from oscar_fedcloud.launchers.port import Launcher
from oscar_fedcloud.launchers.process.container import find_engine
from oscar_fedcloud.launchers.process.launcher import ProcessLauncher
from oscar_fedcloud.storage.ports import ObjectStore


def make_launcher(config: Config, site_store: ObjectStore) -> Launcher:
    """Create the launcher of a site. site_store: holds the logs of Jobs that no longer exist in a cluster."""
    if isinstance(config.launcher, KubernetesConfig):
        from oscar_fedcloud.launchers.kubernetes.launcher import KubernetesLauncher  # of the extra "kubernetes"
        from oscar_fedcloud.launchers.kubernetes.run_records import StoreRecords

        return KubernetesLauncher(config.launcher, StoreRecords(site_store, config.log_bucket))
    return make_process_launcher(config.data / "jobs", config.launcher, config.retention)


def make_process_launcher(folder: Path, config: LauncherConfig, retention: float = 0.0) -> Launcher:
    """Create a launcher of local processes. folder: of its Jobs. retention: seconds for which their logs are kept."""
    return ProcessLauncher(folder, config, retention=retention)


def container_problem() -> str:
    """Return why no Job can run in a container on this machine, or ""."""
    engine = find_engine()
    return engine if isinstance(engine, str) else ""
