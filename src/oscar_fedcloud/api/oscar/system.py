# SPDX-License-Identifier: Apache-2.0
"""``/system/config``, ``/system/info`` and ``/system/status`` of OSCAR, with what this server can say truthfully."""

from __future__ import annotations

import asyncio
import os
import platform
from typing import Any

from starlette.responses import Response

from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.routing import Route
from oscar_fedcloud.config import Config
from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.fdl import HIDDEN
from oscar_fedcloud.server.encoding import answer

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}  # clients know architectures by their Go names


def site_store(config: Config) -> dict[str, Any]:
    """The site's own store in the form of OSCAR's ``minio_provider``. Every key is there: clients fail without."""
    provider = config.providers[config.site_store_id]
    return {
        "endpoint": provider.public_endpoint or provider.endpoint,
        "verify": provider.verify is not False,
        "access_key": provider.access_key,
        "secret_key": provider.secret_key,
        "region": provider.region,
    }


async def get_config(call: RequestContext) -> Response:
    """What clients must know of the site, with the store's keys for the administrator."""
    store = site_store(call.invoker.config)
    if not call.invoker.config.show_store_keys:
        store |= {"access_key": HIDDEN, "secret_key": HIDDEN}
    config = {
        "name": "oscar",
        "namespace": "oscar",
        "services_namespace": "oscar-svc",
        "gpu_available": False,
        "interLink_available": False,
        "serverless_backend": "",
        "yunikorn_enable": False,
        "kueue_enable": False,
        "volume_enable": False,
        "oidc_groups": [],
        "minio_quota_enabled": False,
    }
    return answer({"config": config, "minio_provider": store, "allowed_image_repositories": []})


async def get_info(call: RequestContext) -> Response:
    """What runs here."""
    machine = platform.machine()
    info = {
        "version": call.invoker.version,
        "git_commit": "",
        "architecture": _GO_NAMES.get(machine, machine),
        "kubernetes_version": "",
        "serverless_backend": {"name": "", "version": ""},
    }
    return answer(info)


async def get_status(call: RequestContext) -> Response:
    """The machine's free resources and the jobs that have not ended."""
    store = call.invoker.stores.site_store
    buckets = await call.invoker.stores.run(store.id, store.buckets)
    return answer(await asyncio.to_thread(_status, call, len(buckets)))


def _status(call: RequestContext, buckets: int) -> dict[str, Any]:
    counts = call.invoker.ledger.counts().values()
    states = {state: sum(count.get(state, 0) for count in counts) for state in (RunState.QUEUED, RunState.RUNNING)}
    cores = max(0.0, (os.cpu_count() or 1) - os.getloadavg()[0])
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cluster": {
            "nodes_count": 1,
            "metrics": {
                "cpu": {"total_free_cores": round(cores * 1000), "max_free_on_node_cores": round(cores * 1000)},
                "memory": {"total_free_bytes": memory, "max_free_on_node_bytes": memory},
                "gpu": {"total_gpu": 0},
            },
            "nodes": [],
        },
        "oscar": {
            "deployment_name": "oscar",
            "ready": all(part["ok"] for part in call.invoker.readiness().values()),
            "jobs_count": sum(states.values()),
            "pods": {
                "total": sum(states.values()),
                "states": {"Pending": states[RunState.QUEUED], "Running": states[RunState.RUNNING]},
            },
        },
        "minio": {"buckets_count": buckets},
    }


ROUTES = (
    Route("GET", "/system/config", get_config, "The site's configuration (OSCAR)", "site", dict),
    Route("GET", "/system/info", get_info, "What runs here (OSCAR)", "site", dict),
    Route("GET", "/system/status", get_status, "Resources and jobs (OSCAR)", "site", dict),
)
