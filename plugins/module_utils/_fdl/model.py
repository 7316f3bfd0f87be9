# SPDX-License-Identifier: BSD-2-Clause
# ruff: noqa: RUF009 (spec() is dataclasses.field() with a declaration)
"""THE model of a service.

Every field is declared once, here and in ``parts`` and ``stores``. The order is that of OSCAR's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from . import forms
from .containers import ListOf, MapOf, Maybe, Record
from .kinds import Bool, Choice, Duration, Int, Script, Text, Url, cpu_amount, memory_amount
from .parts import (
    STRINGS,
    Environment,
    Expose,
    Federation,
    Input,
    Kserve,
    Mount,
    Output,
    Retry,
    Synchronous,
    Volume,
)
from .pods import Kubernetes
from .quantity import parse_cpu, parse_quantity
from .stores import CLUSTERS, STORAGE_PROVIDERS
from .table import spec

LOG_LEVELS = ("INFO", "NOTSET", "DEBUG", "WARNING", "ERROR", "CRITICAL")
SCRIPT = Script()


@dataclass(frozen=True)
class Service:
    """A container image and a script, and the places whose files go through them."""

    MOVED: ClassVar[Mapping[str, str]] = {
        "replicas": "federation.members",
        "delegation": "federation.delegation",
        "rescheduler_threshold": "federation.rescheduler_threshold",
    }
    IGNORED: ClassVar[tuple[str, ...]] = ("volume_status", "deployment")

    name: str = spec(forms.SERVICE_NAME, "", "2.0", "Name, unique on the server.", required=True)
    cluster_id: str = spec(Text(), "", "2.5", "Id of this cluster; in a file, the key above the service.")
    memory: str = spec(memory_amount(), "256Mi", "2.0", "Memory limit of a job, in Kubernetes form.")
    cpu: str = spec(cpu_amount(), "0.2", "2.0", "CPU that a job asks for, in Kubernetes form.")
    total_memory: str = spec(memory_amount(optional=True), "", "2.3", "Most memory of all jobs together.", effect=False)
    total_cpu: str = spec(cpu_amount(optional=True), "", "2.3", "Most CPU of all jobs together.", effect=False)
    ephemeral_storage_request: str = spec(
        memory_amount(optional=True), "", "4.1", "Disk space that a job asks for.", effect="kubernetes"
    )
    enable_gpu: bool = spec(Bool(), False, "2.5", "Ask for a GPU.", effect="kubernetes")
    enable_sgx: bool = spec(Bool(), False, "2.7", "Ask for an SGX enclave.", effect=False)
    image_prefetch: bool = spec(Bool(), False, "2.6", "Pull the image on every node beforehand.", effect=False)
    synchronous: Synchronous = spec(
        Record(Synchronous), Synchronous(), "2.4", "Scaling of synchronous invocations.", effect=False
    )
    federation: Federation | None = spec(
        Maybe(Record(Federation)), None, "4.1", "Delegation to other clusters.", effect=False, omit=True
    )
    log_level: str = spec(
        Choice(*LOG_LEVELS, fold=True), "INFO", "2.0", "Log level of OSCAR's supervisor.", effect=False
    )
    image: str = spec(forms.IMAGE, "", "2.0", "Container image.", required=True)
    alpine: bool = spec(Bool(), False, "2.3", "The image is based on Alpine; nothing depends on it here.", effect=False)
    token: str = spec(forms.TOKEN, "", "2.2", "Token for invocations; made by the server.", secret=True)
    file_stage_in: bool = spec(Bool(), False, "2.6", "True: do NOT download the input file for the script.")
    input: tuple[Input, ...] = spec(ListOf(Record(Input)), (), "2.0", "Places whose new files start the service.")
    output: tuple[Output, ...] = spec(ListOf(Record(Output)), (), "2.0", "Places for the results.")
    script: str = spec(
        SCRIPT,
        "",
        "2.0",
        "Shell script run for each file. In a file: its path, relative to the file or absolute, or its lines.",
        required=True,
    )
    image_pull_secrets: tuple[str, ...] = spec(
        ListOf(forms.OBJECT_NAME), (), "2.5", "Kubernetes secrets for private registries.", effect="kubernetes"
    )
    expose: Expose = spec(
        Record(Expose), Expose(), "2.7", "Reach an application in the container from outside.", effect=False
    )
    environment: Environment = spec(Record(Environment), Environment(), "2.0", "Environment variables of the script.")
    annotations: Mapping[str, str] = spec(
        MapOf(Text(), forms.LABEL_NAME, forms.LABEL_RULE),
        {},
        "2.3",
        "Kubernetes annotations of jobs.",
        effect="kubernetes",
    )
    vo: str = spec(Text(), "", "3", "Virtual organisation of the owner.", effect=False)
    labels: Mapping[str, str] = spec(
        MapOf(forms.LABEL_VALUE, forms.LABEL_NAME, forms.LABEL_RULE),
        {},
        "2.3",
        "Kubernetes labels of jobs.",
        effect="kubernetes",
    )
    storage_providers: Mapping[str, Mapping[str, Mapping[str, Any]]] = spec(
        STORAGE_PROVIDERS, {}, "2.0", "Access to stores other than the server's own."
    )
    clusters: Mapping[str, Mapping[str, Any]] = spec(CLUSTERS, {}, "2.5", "Access to other clusters.", effect=False)
    owner: str = spec(Text(), "", "3", "Owner; set by the server.")
    namespace: str = spec(Text(), "", "4.1", "Kubernetes namespace; set by the server.", omit=True)
    interlink_node_name: str = spec(forms.NODE_NAME, "", "3", "Virtual node that runs the jobs.", effect=False)
    visibility: str = spec(
        Choice("private", "restricted", "public"), "private", "3", "Who sees the service.", effect=False
    )
    allowed_users: tuple[str, ...] = spec(STRINGS, (), "3", "Users, with visibility `restricted`.", effect=False)
    isolation_level: str = spec(
        Choice("SERVICE", "USER", fold=True),
        "SERVICE",
        "3",
        "Whether each user has a bucket of their own.",
        effect=False,
    )
    bucket_list: tuple[str, ...] = spec(STRINGS, (), "3", "Buckets of users; set by the server.")
    mount: Mount | None = spec(
        Maybe(Record(Mount)), None, "3", "A place in a store, as a folder.", effect=False, omit=True
    )
    volume: Volume | None = spec(Maybe(Record(Volume)), None, "4.1", "A persistent volume.", effect=False, omit=True)
    kserve: Kserve | None = spec(
        Maybe(Record(Kserve)), None, "4.1", "Serve a model with KServe.", effect=False, omit=True
    )
    retry: Retry = spec(Record(Retry, shorthand="attempts"), Retry(), "fedcloud", "How often a run is tried.")
    timeout: int = spec(
        Duration(whole=True), 0, "fedcloud", "Longest time of one attempt, as seconds or e.g. `1h30m`; 0 is none."
    )
    concurrency: int = spec(
        Int(0, 100000), 0, "fedcloud", "Most jobs of the service at a time; 0 is no limit of its own."
    )
    kubernetes: Kubernetes | None = spec(
        Maybe(Record(Kubernetes)), None, "fedcloud", "How jobs stand in a cluster.", effect="kubernetes", omit=True
    )
    filter: str = spec(
        Text(), "", "fedcloud", "JMESPath expression on the event; only events for which it is true start a run."
    )
    callback: str = spec(Url(), "", "fedcloud", "URL that is told of each finished run.")

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Unknown fields of lenient documents, nested as they stood; members of lists by their index as text."""

    @cached_property
    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return parse_quantity(self.memory)

    @cached_property
    def cpu_cores(self) -> float:
        """The CPU limit in cores."""
        return parse_cpu(self.cpu)


SERVICE = Record(Service)
