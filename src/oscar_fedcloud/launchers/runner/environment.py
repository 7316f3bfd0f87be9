# SPDX-License-Identifier: Apache-2.0
"""Build the environment of ``runner.sh`` from a service, a run and the stores. No I/O.

Variables common to all Jobs of a service's revision (``service_environment``), variables of the event
(``event_environment``) and secrets (``secret_environment``) are separate, because a launcher may store them in
different places. Variables of the event take precedence over those of the service. All of the runner's own variables
are always set, so that no user's variable can replace them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.domain.jsontext import from_json
from oscar_fedcloud.domain.runs import OutputPlace, Run, StoredObject
from oscar_fedcloud.fdl import Output, Service
from oscar_fedcloud.fdl.rules import SET_BY_SERVER
from oscar_fedcloud.launchers.runner.filters import filter_lines
from oscar_fedcloud.storage.rclone import rclone_path

_NAME_MAX = 255  # bytes of a file name on Linux; an object's key may be longer
_WRITTEN_MAX = 64 * 1024  # bytes about earlier outputs, which must fit into an annotation and into a variable
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FOR_SCRIPT = "OSCAR_USER_"  # prefix of users' variables in the runner's environment


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Settings common to all services."""

    rclone: str  # path as the runner sees it
    log_provider: str = ""  # store of the Jobs' logs
    log_bucket: str = ""  # bucket of the Jobs' logs; empty means that they are not stored
    log_max: int = 10 * 1024 * 1024  # bytes
    staging_timeout: float = 600.0  # seconds during which a failing transfer is retried
    node: str = ""  # the ``RESOURCE_ID``


def remote_name(provider: str) -> str:
    """Return the unique rclone remote of a storage provider id: ``minio.default`` -> ``minio_default``."""
    plain = re.sub(r"[^a-z0-9]", "_", provider.lower())
    return plain if re.fullmatch(r"[a-z0-9]+\.[a-z0-9]+", provider) else f"{plain}_{digest(provider)[:8]}"


def stores_of_run(service: Service, run: Run, settings: RunnerSettings) -> tuple[str, ...]:
    """Return the ids of the stores that a Job's runner uses. Each needs its ``RCLONE_CONFIG_<REMOTE>_*`` variables."""
    ids = {run.event.provider, *(output.storage_provider for output in service.output)}
    if settings.log_bucket:
        ids.add(settings.log_provider)
    return tuple(sorted(ids))


def output_places(service: Service, event: StorageEvent) -> tuple[OutputPlace, ...]:
    """Return where an attempt on this event may write."""
    private = _is_private(service, event)
    return tuple(
        OutputPlace(output.storage_provider, event.bucket if private else output.bucket, output.folder)
        for output in service.output
    )


def log_path(service: str, job: str) -> str:
    """Return the key of a Job's log in the log bucket."""
    return f"{service}/{job}.log"


def record_path(service: str, job: str) -> str:
    """Return the key of the record of a Job's end in the log bucket."""
    return f"{service}/{job}.result"


def outputs_path(service: str, job: str) -> str:
    """Return the key of the list of a Job's outputs in the log bucket."""
    return f"{service}/{job}.outputs"


def job_of_path(key: str) -> str:
    """Return the Job of an object in the log bucket, or "" if the runner does not write such a key."""
    service, _, name = key.partition("/")
    job, _, kind = name.rpartition(".")
    return job if service and "/" not in job and kind in ("log", "result", "outputs") else ""


def service_environment(service: Service, settings: RunnerSettings) -> dict[str, str]:
    """Return the variables that depend only on the service."""
    outputs = {
        name: value
        for index, output in enumerate(service.output)
        for name, value in (
            (f"OSCAR_OUTPUT_{index}_REMOTE", remote_name(output.storage_provider)),
            (f"OSCAR_OUTPUT_{index}_PATH", _target(output, output.bucket)),
            (f"OSCAR_OUTPUT_{index}_FILTER", filter_lines(output.prefix, output.suffix)),
            (f"OSCAR_OUTPUT_{index}_WRITTEN", ""),
        )
    }
    return {
        **_user(service.environment.variables),
        **outputs,
        "OSCAR_OUTPUTS": str(len(service.output)),
        "OSCAR_SERVICE_NAME": service.name,
        "OSCAR_STAGE_IN": "0" if service.file_stage_in else "1",  # the FDL's name states the opposite of its effect
        "OSCAR_RCLONE": settings.rclone,
        "OSCAR_LOG_REMOTE": remote_name(settings.log_provider) if settings.log_bucket else "",
        "OSCAR_LOG_MAX": str(settings.log_max),
        "OSCAR_STAGING_TIMEOUT": str(int(settings.staging_timeout)),
        "RESOURCE_ID": settings.node,
    }


def event_environment(service: Service, run: Run, attempt: int, job: str, settings: RunnerSettings) -> dict[str, str]:
    """Return the variables that depend on the event and the attempt."""
    event = run.event
    variables = {
        "JOB_UUID": job,
        "OSCAR_JOB": job,
        "OSCAR_ATTEMPT": str(attempt),
        "OSCAR_DEPTH": str(event.depth + 1),
        "OSCAR_INPUT_REMOTE": remote_name(event.provider),
        "OSCAR_INPUT_BUCKET": event.bucket,
        "OSCAR_INPUT_KEY": rclone_path(event.key),
        "OSCAR_INPUT_NAME": file_name(event.key),
        "OSCAR_INPUT_SIZE": "" if event.size is None else str(event.size),
        "OSCAR_INPUT_ETAG": event.etag,
        "OSCAR_LOG_PATH": f"{settings.log_bucket}/{log_path(service.name, job)}" if settings.log_bucket else "",
    }
    if _is_private(service, event):
        for index, output in enumerate(service.output):
            variables[f"OSCAR_OUTPUT_{index}_PATH"] = _target(output, event.bucket)
    return variables | (_query(from_json(event.record)) if event.via is Origin.HTTP else _storage_event(event))


def written_environment(written: Sequence[StoredObject], places: Sequence[OutputPlace]) -> dict[str, str]:
    """Return what earlier attempts of the run wrote to each output, in lines ``<MD5> <size> <name>``.

    Objects that do not fit or have no size are left out; the runner writes them again.
    """
    lines: dict[int, list[str]] = {}
    room = _WRITTEN_MAX
    for index, place in enumerate(places):
        folder = f"{place.folder}/" if place.folder else ""
        for item in written:
            here = (item.provider, item.bucket) == (place.provider, place.bucket) and item.key.startswith(folder)
            line = f"{item.etag} {item.size} {rclone_path(item.key[len(folder) :])}"
            length = len(line.encode("utf-8", "surrogateescape")) + 1
            if here and item.size is not None and length <= room:
                room -= length
                lines.setdefault(index, []).append(line)
    return {f"OSCAR_OUTPUT_{index}_WRITTEN": "\n".join(found) for index, found in lines.items()}


def secret_environment(service: Service, stores: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the service's secrets and token, and the rclone variables of each store by provider id. Never logged."""
    variables = {**_user(service.environment.secrets), "OSCAR_SERVICE_TOKEN": service.token}
    for store in stores.values():
        variables |= store
    return variables


def file_name(key: str) -> str:
    """Return the name of the input file: the last segment of its key, shortened before its extension if necessary."""
    name = key.rpartition("/")[2]
    if len(name.encode("utf-8", "surrogateescape")) <= _NAME_MAX:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension if stem and len(extension) <= 16 else ""
    kept = name.encode("utf-8", "surrogateescape")[: _NAME_MAX - len(tail.encode("utf-8", "surrogateescape"))]
    return kept.decode("utf-8", "ignore") + tail


def _target(output: Output, bucket: str) -> str:
    return rclone_path(f"{bucket}/{output.folder}" if output.folder else bucket)


def _is_private(service: Service, event: StorageEvent) -> bool:
    """Return whether outputs go to the bucket of the user who uploaded, because each user has a separate one."""
    return service.isolation_level == "USER" and event.bucket in service.bucket_list


def _storage_event(event: StorageEvent) -> dict[str, str]:
    return {
        "EVENT": f'{{"Records": [{event.record.decode()}]}}',
        "EVENT_TIME": event.time,
        "STORAGE_OBJECT_KEY": event.key,
    }


def _query(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the query parameters of an API gateway's event, in the form that the OSCAR supervisor uses."""
    parameters = record.get("queryStringParameters") or {}
    return {f"CONT_VAR_{name}": str(value) for name, value in parameters.items() if _VARIABLE.fullmatch(name)}


def _user(variables: Mapping[str, str]) -> dict[str, str]:
    """Return a user's variables with a prefix that hides them from the runner and rclone. ``script.sh`` removes it."""
    return {
        _FOR_SCRIPT + name: value
        for name, value in variables.items()
        if name not in SET_BY_SERVER and not name.startswith("OSCAR_")
    }
