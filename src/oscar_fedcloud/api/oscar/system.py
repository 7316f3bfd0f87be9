# SPDX-License-Identifier: Apache-2.0
"""``/system/config``, ``/system/info`` and ``/system/status`` of OSCAR, as far as they apply to this server."""

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

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}  # clients use the Go names of architectures


def site_store(config: Config) -> dict[str, Any]:
    """Return the site's own store in the form of OSCAR's ``minio_provider``, with all keys that clients require."""
    provider = config.providers[config.site_store_id]
    return {
        "endpoint": provider.public_endpoint or provider.endpoint,
        "verify": provider.verify is not False,
        "access_key": provider.access_key,
        "secret_key": provider.secret_key,
        "region": provider.region,
    }


async def get_config(ctx: RequestContext) -> Response:
    """Return the site's settings for clients, with the store's keys for the administrator."""
    store = site_store(ctx.invoker.config)
    if not ctx.invoker.config.show_store_keys:
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


async def get_info(ctx: RequestContext) -> Response:
    """Return the versions of this server."""
    machine = platform.machine()
    info = {
        "version": ctx.invoker.version,
        "git_commit": "",
        "architecture": _GO_NAMES.get(machine, machine),
        "kubernetes_version": "",
        "serverless_backend": {"name": "", "version": ""},
    }
    return answer(info)


async def get_status(ctx: RequestContext) -> Response:
    """Return the machine's free resources and the jobs that have not ended."""
    store = ctx.invoker.stores.site_store
    buckets = await ctx.invoker.stores.run(store.id, store.buckets)
    return answer(await asyncio.to_thread(_status, ctx, len(buckets)))


def _status(ctx: RequestContext, buckets: int) -> dict[str, Any]:
    counts = ctx.invoker.ledger.counts().values()
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
            "ready": all(part["ok"] for part in ctx.invoker.readiness().values()),
            "jobs_count": sum(states.values()),
            "pods": {
                "total": sum(states.values()),
                "states": {"Pending": states[RunState.QUEUED], "Running": states[RunState.RUNNING]},
            },
        },
        "minio": {"buckets_count": buckets},
    }


ROUTES = (
    Route(
        "GET",
        "/system/config",
        handler=get_config,
        summary="The site's configuration (OSCAR)",
        kind="site",
        answer=dict,
    ),
    Route("GET", "/system/info", handler=get_info, summary="What runs here (OSCAR)", kind="site", answer=dict),
    Route("GET", "/system/status", handler=get_status, summary="Resources and jobs (OSCAR)", kind="site", answer=dict),
)
