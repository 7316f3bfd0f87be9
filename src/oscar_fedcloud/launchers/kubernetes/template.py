# SPDX-License-Identifier: Apache-2.0
"""Build the common part of the Jobs of a service revision, and the Job of an attempt. No I/O.

Constant data is in a ConfigMap and a Secret that are named by content hash, and in a pod spec that is encoded once.
Data of the event is an annotation, which the Pod reads as a file.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.events import event_id
from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.domain.resources import requests_of, toleration_of
from oscar_fedcloud.fdl import Kubernetes, Service
from oscar_fedcloud.fdl.quantity import parse_quantity
from oscar_fedcloud.launchers.kubernetes.env_file import variables_file
from oscar_fedcloud.launchers.kubernetes.objects import OUTPUTS, PREFIX
from oscar_fedcloud.launchers.port import JobSpec, LaunchError
from oscar_fedcloud.launchers.process.process_plan import SCRIPTS
from oscar_fedcloud.storage.rclone import BUNDLE

MANAGED = {"app.kubernetes.io/managed-by": "oscar-invoker"}
SELECTOR = ",".join(f"{name}={value}" for name, value in MANAGED.items())
SERVICE_LABEL, REVISION_LABEL, EVENT_LABEL = f"{PREFIX}/service", f"{PREFIX}/revision", f"{PREFIX}/event"
DOCUMENT_LABEL = f"{PREFIX}/document"
VARIABLES = f"{PREFIX}/variables"  # the annotation
CONTAINER = "oscar-container"
TOOLS = "/oscar/tools"

Tools = Literal["image", "copy"]

_FOLDER = "/oscar/job"
_WORK = "/oscar/work"
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # of the tools image, for images without one
_ANNOTATIONS_MAX = 250 * 1024  # bytes; Kubernetes allows 256 KiB
_CONFIG_MAP_MAX = 1000 * 1024  # bytes; Kubernetes allows 1 MiB
_DEAD_NODE = [  # its Pods count as lost after 30 s
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    for state in ("not-ready", "unreachable")
]


@dataclass(frozen=True, slots=True)
class Template:
    """A service revision in the cluster."""

    name: str  # of its ConfigMap and Secret: ``<service>-<content hash>``
    service: Service
    labels: Mapping[str, str]
    config: Mapping[str, Any] = field(repr=False)
    secret: Mapping[str, Any] = field(repr=False)
    pod: bytes = field(repr=False)  # the pod spec, as JSON


def make_template(job: JobSpec, settings: KubernetesConfig, tools: Tools) -> Template:
    """Create the revision of a Job. Raises LaunchError if it is too large for the cluster."""
    bundles = {name: path for name, path in job.secrets.items() if name.startswith(BUNDLE)}
    files = {
        "script": job.script,
        **{script.name: script.read_bytes() for script in SCRIPTS},
        "variables": _constant(job, settings).encode(),
        **{name: _read_bundle(path) for name, path in bundles.items()},
    }
    size = sum(map(len, files.values()))
    if size > _CONFIG_MAP_MAX:
        raise LaunchError(f"script and variables of service {job.service.name} have {size} bytes, too many for a Job")
    secrets = variables_file({**job.secrets, **{name: f"{_FOLDER}/{name}" for name in bundles}})
    content = [f"{name}:{data.decode('latin-1')}" for name, data in files.items()]
    name = f"{job.service.name}-{digest(*content, secrets)}"
    labels = {**MANAGED, SERVICE_LABEL: job.service.name, REVISION_LABEL: name}
    metadata = {"name": name, "labels": {**labels, DOCUMENT_LABEL: job.service_revision}}
    return Template(
        name=name,
        service=job.service,
        labels=labels,
        config={"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "immutable": True, **_data(files)},
        secret={
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": metadata,
            "immutable": True,
            "stringData": {"secrets": secrets},
        },
        pod=msgspec.json.encode(_pod(job, name, settings, tools)),
    )


def job_body(job: JobSpec, template: Template, settings: KubernetesConfig) -> bytes:
    """Return the Job of an attempt, as JSON. Raises LaunchError if its event is too large."""
    variables = {name: value for name, value in job.env.items() if job.constant.get(name) != value}
    annotations = {**template.service.annotations, VARIABLES: variables_file(variables)}
    if (size := sum(len(value.encode()) for value in annotations.values())) > _ANNOTATIONS_MAX:
        raise LaunchError(f"the event of job {job.job} has {size} bytes, too many for a Job")
    labels = {**template.service.labels, **template.labels, EVENT_LABEL: event_id(job.run.event)}
    own_annotations = {**template.service.annotations, OUTPUTS: msgspec.json.encode(job.outputs).decode()}
    return msgspec.json.encode(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": job.job, "labels": labels, "annotations": own_annotations},
            "spec": {
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": settings.job_ttl,
                "template": {
                    "metadata": {"labels": labels, "annotations": annotations},
                    "spec": msgspec.Raw(template.pod),
                },
            },
        }
    )


def _constant(job: JobSpec, settings: KubernetesConfig) -> str:
    """Return the file of the revision's common variables. Secrets take precedence over variables of the same name."""
    variables = {name: value for name, value in job.constant.items() if name not in job.secrets}
    variables.pop("RESOURCE_ID", None)  # the node's name; the cluster sets it
    own = {
        "TMPDIR": _WORK,
        "OSCAR_RCLONE": settings.rclone,
        "OSCAR_SCRIPT": f"{_FOLDER}/script",
        "OSCAR_RESULT": "/dev/termination-log",  # the kubelet shows it in the Pod's status
        "OSCAR_RECORD": "1",
        "OSCAR_CA_BUNDLE": TOOLS + _BUNDLE,
    }
    return variables_file(variables | own)


def _read_bundle(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise LaunchError(f"the CA bundle {path} of a storage provider cannot be read: {error.strerror}") from error


def _data(files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """Return the files of a ConfigMap, as text if possible."""
    text, binary = {}, {}
    for name, content in files.items():
        try:
            text[name] = content.decode()
        except UnicodeDecodeError:
            binary[name] = base64.b64encode(content).decode()
    return {"data": text, **({"binaryData": binary} if binary else {})}


# -- the Pod -----------------------------------------------------------------------------------------------------------


def _pod(job: JobSpec, name: str, settings: KubernetesConfig, tools: Tools) -> dict[str, Any]:
    service, resources = job.service, _resources(job, settings)
    wanted = service.kubernetes or Kubernetes()
    pod_security, container_security = security(
        wanted.pod_security or settings.pod_security, wanted.run_as_user, wanted.run_as_group, settings.run_as_user
    )
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security,
        "tolerations": [*_DEAD_NODE, *map(toleration_of, wanted.tolerations)],
        "volumes": _volumes(name, service, settings, tools),
        "containers": [
            {
                "name": CONTAINER,
                "image": job.image or service.image,
                "command": ["/bin/sh", f"{_FOLDER}/runner.sh"],
                "args": [f"{_FOLDER}/{file}" for file in ("secrets", "variables", "event")],
                "env": [{"name": "RESOURCE_ID", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "resources": resources,
                "securityContext": container_security,
                "volumeMounts": [
                    {"name": "job", "mountPath": _FOLDER, "readOnly": True},
                    {"name": "work", "mountPath": _WORK},
                    {"name": "tools", "mountPath": TOOLS, "readOnly": True},
                ],
            }
        ],
    }
    if tools == "copy":
        pod["initContainers"] = [_copying(settings, resources, container_security)]
    if job.timeout:
        pod["activeDeadlineSeconds"] = max(1, round(job.timeout))
    if wanted.node_selector:
        pod["nodeSelector"] = dict(wanted.node_selector)
    if wanted.image_pull_policy:
        pod["containers"][0]["imagePullPolicy"] = wanted.image_pull_policy
    if service.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in service.image_pull_secrets]
    return pod


def _resources(job: JobSpec, settings: KubernetesConfig) -> dict[str, dict[str, str]]:
    """Return requests and limits. A Job may use more CPU than it requests."""
    requests = requests_of(job.service, settings.gpu_resource)
    limits = {"memory": requests["memory"]}
    if (job.service.kubernetes or Kubernetes()).cpu_limit:
        limits["cpu"] = requests["cpu"]
    if settings.gpu_resource in requests:
        limits[settings.gpu_resource] = requests.pop(settings.gpu_resource)  # for GPUs, the limit is also the request
    if settings.disk_limit:
        limits["ephemeral-storage"] = str(_disk_of(job.service, settings))
        requests.setdefault("ephemeral-storage", "0")  # otherwise the limit would be the request
    return {"requests": requests, "limits": limits}


def _disk_of(service: Service, settings: KubernetesConfig) -> int:
    """Return the bytes of disk that a Job may use: the site's limit, or the service's request if that is larger."""
    asked = parse_quantity(service.ephemeral_storage_request) if service.ephemeral_storage_request else 0
    return max(settings.disk_limit, asked)


def security(level: str, user: int, group: int, default_user: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the security contexts of Pod and containers for a level of the Pod Security Standards."""
    pod: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    container: dict[str, Any] = {"allowPrivilegeEscalation": False}
    if level == "restricted":
        user = user or default_user
        pod["runAsNonRoot"] = True
        container["capabilities"] = {"drop": ["ALL"]}
    if user:
        pod["runAsUser"] = user
    if group or user:
        pod["runAsGroup"] = group or user
    return pod, container


def _volumes(name: str, service: Service, settings: KubernetesConfig, tools: Tools) -> list[dict[str, Any]]:
    work = {"sizeLimit": str(_disk_of(service, settings))} if settings.disk_limit else {}
    event = {"path": "event", "fieldRef": {"fieldPath": f"metadata.annotations['{VARIABLES}']"}}
    sources = [{"configMap": {"name": name}}, {"secret": {"name": name}}, {"downwardAPI": {"items": [event]}}]
    image = {"reference": settings.tools_image, "pullPolicy": "IfNotPresent"}
    return [
        {"name": "job", "projected": {"sources": sources, "defaultMode": 0o444}},
        {"name": "work", "emptyDir": work},
        {"name": "tools", **({"image": image} if tools == "image" else {"emptyDir": {}})},
    ]


def _copying(settings: KubernetesConfig, resources: Mapping[str, Any], security: Mapping[str, Any]) -> dict[str, Any]:
    """Return the init container that copies rclone, for clusters without image volumes."""
    script = 'mkdir -p "$2${1%/*}" "$2${3%/*}"; if [ -e "$3" ]; then cp "$3" "$2$3"; fi; exec cp -p "$1" "$2$1"'
    return {
        "name": "tools",
        "image": settings.tools_image,
        "command": ["/bin/sh", "-ec", script, "tools", settings.tools_rclone, TOOLS, _BUNDLE],
        "resources": {part: {**amounts} for part, amounts in resources.items()},
        "securityContext": security,
        "volumeMounts": [{"name": "tools", "mountPath": TOOLS}],
    }
