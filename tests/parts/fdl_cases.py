# SPDX-License-Identifier: Apache-2.0
"""Documents that the tests of the language share."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For property tests: a busy machine is no failure."""

SECRETS = [f"s3cr3t-{number}" for number in range(9)]
TOKEN = "0123456789abcdef" * 4

MINIMAL: dict[str, Any] = {"name": "grayify", "image": "ghcr.io/grycap/imagemagick", "script": "echo hello\n"}

# Every field of a service, none at its default.
FULL: dict[str, Any] = {
    "name": "full-service",
    "cluster_id": "oscar-eu",
    "memory": "1Gi",
    "cpu": "1500m",
    "total_memory": "10Gi",
    "total_cpu": "8",
    "ephemeral_storage_request": "5Gi",
    "enable_gpu": True,
    "enable_sgx": True,
    "image_prefetch": True,
    "synchronous": {"min_scale": 1, "max_scale": 4},
    "federation": {
        "group_id": "edge",
        "topology": "star",
        "delegation": "topsis",
        "rescheduler_threshold": 30,
        "members": [
            {
                "type": "oscar",
                "cluster_id": "oscar-us",
                "service_name": "full-service",
                "url": "",
                "ssl_verify": False,
                "priority": 1,
                "headers": {"X-Key": SECRETS[0]},
            }
        ],
    },
    "log_level": "CRITICAL",
    "image": "ghcr.io/grycap/imagemagick:1.0",
    "alpine": True,
    "token": TOKEN,
    "file_stage_in": True,
    "input": [
        {
            "storage_provider": "minio.default",
            "path": "full-service/in",
            "suffix": [".jpg", ".png"],
            "prefix": ["img-"],
            "existing": "process",
        }
    ],
    "output": [
        {"storage_provider": "minio.default", "path": "full-service/out", "suffix": [".png"], "prefix": ["res"]},
        {"storage_provider": "s3.archive", "path": "archive/out", "suffix": [], "prefix": []},
        {"storage_provider": "onedata.space", "path": "results", "suffix": [], "prefix": []},
        {"storage_provider": "webdav.dcache", "path": "a/b", "suffix": [], "prefix": []},
        {"storage_provider": "rucio.data", "path": "scope", "suffix": [], "prefix": []},
        {"storage_provider": "minio.other", "path": "bucket/out", "suffix": [], "prefix": []},
    ],
    "script": '#!/bin/sh\nconvert "$INPUT_FILE_PATH" -type Grayscale "$TMP_OUTPUT_DIR/out.png"\n',
    "image_pull_secrets": ["registry"],
    "expose": {
        "min_scale": 2,
        "max_scale": 5,
        "api_port": [8080, 9090],
        "cpu_threshold": 70,
        "rewrite_target": True,
        "nodePort": [30500, 0],
        "default_command": True,
        "set_auth": True,
        "auth_type": "forward",
        "health_path": "/healthz",
        "probe_mode": "direct",
    },
    "environment": {"variables": {"MODE": "fast"}, "secrets": {"PASSWORD": SECRETS[1]}},
    "annotations": {"example.org/team": "blue green"},
    "vo": "vo.example.eu",
    "labels": {"team": "blue"},
    "storage_providers": {
        "s3": {
            "archive": {
                "access_key": "AKIA",
                "secret_key": SECRETS[2],
                "region": "eu-west-1",
                "endpoint": "https://s3.example.org",
                "verify": False,
            }
        },
        "minio": {
            "other": {
                "endpoint": "https://minio.example.org:9000",
                "verify": False,
                "access_key": "user",
                "secret_key": SECRETS[3],
                "region": "eu",
            }
        },
        "onedata": {"space": {"oneprovider_host": "op.example.org", "token": SECRETS[4], "space": "lab"}},
        "webdav": {"dcache": {"hostname": "dcache.example.org", "login": "me", "password": SECRETS[5]}},
        "rucio": {
            "data": {
                "host": "rucio.example.org",
                "auth_host": "auth.example.org",
                "account": "me",
                "rse": "RSE",
                "refresh_token": SECRETS[6],
                "oidc_audience": "rucio",
                "token_endpoint": "https://iam.example.org/token",
            }
        },
    },
    "clusters": {
        "oscar-us": {
            "endpoint": "https://us.example.org",
            "auth_user": "oscar",
            "auth_password": SECRETS[7],
            "ssl_verify": False,
        }
    },
    "owner": "62bb11b40398f7@egi.eu",
    "namespace": "oscar-svc-1",
    "interlink_node_name": "vega-vk",
    "visibility": "restricted",
    "allowed_users": ["5e14d33ac4abc9@egi.eu"],
    "isolation_level": "USER",
    "bucket_list": ["full-service-5e14d33ac4"],
    "mount": {"storage_provider": "minio.default", "path": "models/v1", "options": "--vfs-cache-mode full"},
    "volume": {"name": "data", "size": "1Gi", "mount_path": "/data", "lifecycle_policy": "retain"},
    "kserve": {
        "type": "inference",
        "storage_uri": "gs://models/iris",
        "inference": {"model_format": "sklearn", "runtime": "kserve-sklearnserver", "api_version": "v2"},
        "min_scale": 1,
        "max_scale": 3,
        "cpu": "1",
        "memory": "2Gi",
        "args": ["--fast"],
        "env": {"THREADS": "4"},
        "enable_gpu": True,
        "set_auth": False,
    },
    "retry": {"attempts": 3, "backoff": 5.0, "backoff_max": 60.0, "infrastructure": 2},
    "timeout": 3600,
    "concurrency": 4,
    "kubernetes": {
        "cpu_limit": True,
        "gpus": 2,
        "node_selector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "value": "", "effect": "NoSchedule"}],
        "image_pull_policy": "Always",
        "pod_security": "baseline",
        "run_as_user": 1001,
        "run_as_group": 1002,
    },
    "filter": "s3.object.size > `0`",
    "callback": "https://example.org/done",
}


def minimal(**fields: Any) -> dict[str, Any]:
    """The smallest service, with more fields."""
    return {**copy.deepcopy(MINIMAL), **fields}


def full(**fields: Any) -> dict[str, Any]:
    """The service with every field, some of them changed."""
    return {**copy.deepcopy(FULL), **fields}


def place(path: str, provider: str = "minio.default", **fields: Any) -> dict[str, Any]:
    """One input or output."""
    return {"storage_provider": provider, "path": path, **fields}


def file_of(*services: dict[str, Any], **top: Any) -> dict[str, Any]:
    """An FDL file with these services."""
    return {"functions": {"oscar": [{"oscar-eu": service} for service in services]}, **top}


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every member of a document."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, member in members:
        yield (*path, part)
        yield from spots(member, (*path, part))


# One service as each version writes it: v2.0 to v4.1 of the reference.
BY_VERSION: dict[str, dict[str, Any]] = {
    "2.0": {
        "name": "plants",
        "memory": "2Gi",
        "cpu": "1.0",
        "log_level": "INFO",
        "image": "grycap/oscar-theano-plants",
        "input": [place("plants/in")],
        "output": [place("plants/out", "minio", prefix=["r"], suffix=[".json"])],
        "script": "echo\n",
        "environment": {"Variables": {"A": "1"}},
        "storage_providers": {
            "minio": {
                "x": {"endpoint": "https://m", "verify": True, "access_key": "a", "secret_key": "b", "region": "r"}
            },
            "s3": {"y": {"access_key": "a", "secret_key": "b", "region": "r"}},
            "onedata": {"z": {"oneprovider_host": "h", "token": "t", "space": "s"}},
        },
    },
    "2.2": {"token": TOKEN},
    "2.3": {"total_memory": "4Gi", "total_cpu": "4", "alpine": True, "annotations": {"a": "b"}, "labels": {"c": "d"}},
    "2.4": {"synchronous": {"min_scale": 0, "max_scale": 5}},
    "2.5": {
        "cluster_id": "eu",
        "enable_gpu": True,
        "replicas": [
            {"type": "oscar", "cluster_id": "us", "service_name": "plants", "priority": 0, "headers": {"a": "b"}}
        ],
        "rescheduler_threshold": 15,
        "image_pull_secrets": ["reg"],
        "clusters": {"us": {"endpoint": "https://us", "auth_user": "u", "auth_password": "p", "ssl_verify": True}},
    },
    "2.6": {"image_prefetch": True, "file_stage_in": True},
    "3.0": {"delegation": "load-based", "expose": {"min_scale": 1, "max_scale": 3, "port": 5000, "cpu_threshold": 70}},
    "4.0": {"expose": {"api_port": 5000, "nodePort": 30500}, "isolation_level": "user", "visibility": "public"},
}
