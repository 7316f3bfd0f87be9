# SPDX-License-Identifier: BSD-2-Clause
# ruff: noqa: RUF009 (spec() is dataclasses.field() with a declaration)
"""The groups of fields inside a service: storage, environment, scaling, federation and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from . import forms
from .containers import ListOf, MapOf, Maybe, Record
from .kinds import Bool, Choice, Duration, Int, Scalar, Text, Url, cpu_amount, memory_amount, text
from .table import spec

STRINGS = ListOf(Text(optional=False))


class _Place:
    """Bucket and folder of a storage path."""

    path: str

    @cached_property
    def bucket(self) -> str:
        """The first part of the path."""
        return self.path.partition("/")[0]

    @cached_property
    def folder(self) -> str:
        """The rest of the path, "" for the whole bucket."""
        return self.path.partition("/")[2]

    @cached_property
    def key_prefix(self) -> str:
        """What every key in the folder starts with: the folder and a slash, or "" for the whole bucket."""
        return self.folder + "/" if self.folder else ""


@dataclass(frozen=True)
class Input(_Place):
    """A place whose new files start the service. Prefixes and suffixes apply to the name relative to the folder."""

    storage_provider: str = spec(
        forms.STORAGE_PROVIDER, "", "2.0", "Store, as `<type>.<id>`; `minio` is `minio.default`.", required=True
    )
    path: str = spec(
        forms.StoragePath(),
        "",
        "2.0",
        "Bucket and folder. A name alone is a folder in the bucket `<service>`.",
        required=True,
    )
    suffix: tuple[str, ...] = spec(forms.NAME_PARTS, (), "fedcloud", "Only files whose name ends with one of these.")
    prefix: tuple[str, ...] = spec(forms.NAME_PARTS, (), "fedcloud", "Only files whose name starts with one of these.")
    existing: str = spec(
        Choice("ignore", "process"),
        "ignore",
        "fedcloud",
        "What to do with files that are there when the service is declared.",
    )


@dataclass(frozen=True)
class Output(_Place):
    """A place for the files that the script leaves in `TMP_OUTPUT_DIR`, with their sub-folders."""

    storage_provider: str = spec(
        forms.STORAGE_PROVIDER, "", "2.0", "Store, as `<type>.<id>`; `minio` is `minio.default`.", required=True
    )
    path: str = spec(
        forms.StoragePath(),
        "",
        "2.0",
        "Bucket and folder. A name alone is a folder in the bucket `<service>`.",
        required=True,
    )
    suffix: tuple[str, ...] = spec(
        forms.NAME_PARTS, (), "2.0", "Only files whose relative name ends with one of these."
    )
    prefix: tuple[str, ...] = spec(
        forms.NAME_PARTS, (), "2.0", "Only files whose relative name starts with one of these."
    )


@dataclass(frozen=True)
class Mount(_Place):
    """A place in a store that is mounted in the container."""

    storage_provider: str = spec(forms.STORAGE_PROVIDER, "", "3", "Store, as `<type>.<id>`.", required=True)
    path: str = spec(forms.StoragePath(), "", "3", "Bucket and folder.", required=True)
    options: str = spec(forms.RCLONE_FLAGS, "", "4.1", "Flags for rclone.", omit=True)


@dataclass(frozen=True)
class Environment:
    """Environment variables of the script."""

    PRIVATE: ClassVar[bool] = True
    variables: Mapping[str, str] = spec(
        MapOf(Scalar(), forms.ENV_NAME, forms.ENV_RULE), {}, "2.0", "Plain variables.", aliases=("Variables",)
    )
    secrets: Mapping[str, str] = spec(
        MapOf(Scalar(), forms.ENV_NAME, forms.ENV_RULE, secret=True), {}, "3", "Variables whose values are never shown."
    )


@dataclass(frozen=True)
class Retry:
    """How often a run is tried. Failures of the infrastructure, such as a lost node, are counted apart."""

    attempts: int = spec(Int(1, 100), 1, "fedcloud", "Attempts in all; 1 is no retry.")
    backoff: float = spec(
        Duration(whole=False), 10.0, "fedcloud", "Wait before the second attempt; it doubles each time."
    )
    backoff_max: float = spec(Duration(whole=False), 600.0, "fedcloud", "Longest wait.")
    infrastructure: int = spec(Int(0, 1000), 5, "fedcloud", "Failures of the infrastructure that are repeated.")


@dataclass(frozen=True)
class Synchronous:
    """Scaling of synchronous invocations."""

    min_scale: int = spec(Int(), 0, "2.4", "Fewest replicas.")
    max_scale: int = spec(Int(), 0, "2.4", "Most replicas; 0 is unlimited.")


@dataclass(frozen=True)
class Replica:
    """A service in another cluster, or an endpoint, that takes over jobs."""

    PRIVATE: ClassVar[bool] = True
    type: str = spec(Choice("oscar", "endpoint"), "oscar", "2.5", "Kind of the replica.")
    cluster_id: str = spec(Text(), "", "2.5", "Its cluster, declared under `clusters`; with type `oscar`.")
    service_name: str = spec(forms.SERVICE_NAME, "", "2.5", "Its name there; with type `oscar`.")
    url: str = spec(Url(), "", "2.5", "Where to POST events; with type `endpoint`.")
    ssl_verify: bool = spec(Bool(), True, "2.5", "Whether certificates are verified.")
    priority: int = spec(Int(), 0, "2.5", "0 is taken first.")
    headers: Mapping[str, str] = spec(
        MapOf(Text(), forms.HEADER_NAME, forms.HEADER_RULE, secret=True), {}, "2.5", "HTTP headers of the request."
    )


@dataclass(frozen=True)
class Federation:
    """Delegation of jobs to other clusters."""

    group_id: str = spec(Text(), "", "4.1", "Name of the group; the name of the service when empty.")
    topology: str = spec(Choice("none", "star", "mesh", "tree"), "none", "4.1", "Who delegates to whom.")
    delegation: str = spec(
        Choice("static", "random", "load-based", "topsis"),
        "static",
        "3",
        "How the next replica is chosen. Before 4.1 a field of the service.",
    )
    rescheduler_threshold: int = spec(
        Int(), 0, "2.5", "Seconds that a job waits before it is delegated. Before 4.1 a field of the service."
    )
    members: tuple[Replica, ...] = spec(
        ListOf(Record(Replica)), (), "2.5", "The replicas. Before 4.1 `replicas` of the service."
    )


@dataclass(frozen=True)
class Expose:
    """Makes an application in the container reachable from outside."""

    min_scale: int = spec(Int(), 1, "2.7", "Fewest replicas.")
    max_scale: int = spec(Int(1), 10, "2.7", "Most replicas.")
    api_port: tuple[int, ...] = spec(
        ListOf(Int(1, 65535, zero=True), single=True),
        (),
        "2.7",
        "Ports in the container, one or a list; the first is routed. None: not exposed.",
        omit=True,
        aliases=("port",),
    )
    cpu_threshold: int = spec(Int(1, 100), 80, "2.7", "CPU use in per cent above which replicas are added.")
    rewrite_target: bool = spec(Bool(), False, "2.7", "Whether the application sees the path prefix.")
    nodePort: tuple[int, ...] = spec(
        ListOf(Int(30000, 32767, zero=True), single=True),
        (),
        "3",
        "Node ports, one for each of `api_port`; 0 or none: chosen.",
        omit=True,
    )
    default_command: bool = spec(Bool(), False, "3", "Run the command of the image instead of the script.")
    set_auth: bool = spec(Bool(), False, "3", "Ask for service name and token.")
    auth_type: str = spec(Choice("basic", "forward"), "basic", "4.1", "How to ask.")
    health_path: str = spec(
        text("a path", r"/\S*", "use a path that starts with /"), "/", "3", "Path of the health check."
    )
    probe_mode: str = spec(
        Choice("legacy", "direct"), "legacy", "4.1", "Whether the health check goes through the path prefix."
    )


@dataclass(frozen=True)
class Volume:
    """A persistent volume in the container."""

    name: str = spec(forms.OBJECT_NAME, "", "4.1", "Name of the volume; when empty, one of the service's own.")
    size: str = spec(memory_amount(optional=True), "", "4.1", "Size of a new volume, in Kubernetes form.")
    mount_path: str = spec(forms.ABSOLUTE_PATH, "", "4.1", "Where it is mounted.", required=True)
    lifecycle_policy: str = spec(
        Choice("delete", "retain"), "delete", "4.1", "What becomes of it when the service is deleted."
    )


@dataclass(frozen=True)
class KserveInference:
    """A model for a KServe InferenceService."""

    model_format: str = spec(Text(), "", "4.1", "Format of the model, e.g. `onnx`.", required=True)
    runtime: str = spec(Text(), "", "4.1", "KServe runtime.")
    api_version: str = spec(Choice("v1", "v2"), "v1", "4.1", "Protocol of inference.")


@dataclass(frozen=True)
class KserveLlm:
    """A model for a KServe LLMInferenceService."""

    runtime_image: str = spec(forms.IMAGE, "", "4.1", "Image of the runtime; when empty, vLLM.")


@dataclass(frozen=True)
class Kserve:
    """Serves a model with KServe."""

    MOVED: ClassVar[Mapping[str, str]] = {"api_version": "inference.api_version"}
    type: str = spec(Choice("inference", "llm_inference"), "", "4.1", "Kind of model service.", required=True)
    storage_uri: str = spec(
        text("a URI", r"[a-z][a-z0-9+.-]*://\S+", "use a form such as gs://bucket/model"),
        "",
        "4.1",
        "Where the model lies.",
        required=True,
    )
    inference: KserveInference | None = spec(
        Maybe(Record(KserveInference)), None, "4.1", "With type `inference`.", omit=True
    )
    llm_inference: KserveLlm | None = spec(
        Maybe(Record(KserveLlm)), None, "4.1", "With type `llm_inference`.", omit=True
    )
    min_scale: int = spec(Int(), 0, "4.1", "Fewest replicas; at least 1 with type `llm_inference`.")
    max_scale: int = spec(Int(1), 1, "4.1", "Most replicas.")
    cpu: str = spec(cpu_amount(), "0.2", "4.1", "CPU limit.")
    memory: str = spec(memory_amount(), "256Mi", "4.1", "Memory limit.")
    args: tuple[str, ...] = spec(STRINGS, (), "4.1", "Arguments of the container.")
    env: Mapping[str, str] = spec(
        MapOf(Scalar(), forms.ENV_NAME, forms.ENV_RULE), {}, "4.1", "Environment of the container."
    )
    enable_gpu: bool = spec(Bool(), False, "4.1", "Use a GPU.")
    set_auth: bool = spec(Bool(), True, "4.1", "Ask for authentication.")
