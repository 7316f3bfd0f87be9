# SPDX-License-Identifier: Apache-2.0
"""Plan how a Job runs on this machine: command, environment and limits, on the host or in a container. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oscar_fedcloud.config import LauncherConfig
from oscar_fedcloud.launchers.port import JobSpec, LaunchError
from oscar_fedcloud.launchers.process.container import Engine, JobContainer, needs_host_network
from oscar_fedcloud.storage.rclone import BUNDLE

RUNNER = Path(__file__).parents[1] / "runner" / "runner.sh"
SCRIPTS = tuple(RUNNER.with_name(name) for name in ("runner.sh", "script.sh", "outputs.sh"))  # they call each other
HOST_MODE = "none: runs as the invoker's user, for trusted scripts"
_CLIENT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST", "XDG_RUNTIME_DIR")


@dataclass(frozen=True, slots=True)
class HostCapabilities:
    """What this machine offers."""

    rclone: Path
    cgroup: str  # in which Jobs get their cgroups, or ""
    shares_cpu: bool  # whether that cgroup has the cpu controller
    can_watch_memory: bool
    engine: Engine | str  # a container engine, or why there is none
    own: Mapping[str, str] = field(repr=False)  # the invoker's environment, for the engine's client


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """The content of the Job's folder. ``spec`` is for the shim and contains no secret."""

    spec: Mapping[str, Any]
    environment: Mapping[str, str] = field(repr=False)


def plan_job(
    job: JobSpec, folder: Path, config: LauncherConfig, machine: HostCapabilities, grace: float
) -> ProcessPlan:
    """Decide where and how the Job runs. Raises LaunchError if it cannot or must not."""
    _check_environment(job)
    common = {
        "work": str(folder / "work"),
        "memory": job.memory,
        "timeout": job.timeout,
        "grace": grace,
        "log_max": config.log_max,
        "command": ["/bin/sh", str(RUNNER)],
        "nice": config.nice,
        "cgroup": "",
        "watched_memory": 0,
        "inspect": [],
        "remove": [],
        "outputs": [[place.provider, place.bucket, place.folder] for place in job.outputs],
    }
    limits = {"timeout": "watched" if job.timeout else "none"}
    if config.container != "never" and isinstance(machine.engine, Engine):
        return _in_container(job, folder, machine, machine.engine, common, limits)
    if config.container == "require":
        raise LaunchError(f"a container engine is required (launcher.container), but there is none: {machine.engine}")
    isolation = f"{HOST_MODE}; no container: {machine.engine}" if config.container == "auto" else HOST_MODE
    return _on_host(job, folder, config, machine, common, {**limits, "isolation": isolation})


def _check_environment(job: JobSpec) -> None:
    for name, value in {**job.env, **job.secrets}.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise LaunchError(
                f"variable {name!r} of service {job.service.name} cannot be set: a name must not be empty or hold '=', "
                "and neither name nor value may hold NUL"
            )


def _on_host(
    job: JobSpec,
    folder: Path,
    config: LauncherConfig,
    machine: HostCapabilities,
    common: Mapping[str, Any],
    limits: Mapping[str, str],
) -> ProcessPlan:
    environment = {
        "PATH": ":".join(config.path),
        "LANG": "C.UTF-8",
        "HOME": str(folder / "work"),
        "TMPDIR": str(folder / "tmp"),
        **job.env,
        **job.secrets,
        "OSCAR_RCLONE": str(machine.rclone),
        "OSCAR_SCRIPT": str(folder / "script"),
        "OSCAR_RESULT": str(folder / "out" / "result"),
    }
    enforced: dict[str, Any] = {}
    how = "none"
    if machine.cgroup:
        enforced, how = {"cgroup": f"{machine.cgroup}/{job.job}"}, "cgroup"
    elif machine.can_watch_memory:
        enforced, how = {"watched_memory": job.memory}, "watched"
    cpu = "cgroup weight" if machine.shares_cpu else f"nice {config.nice}"
    limits = {**limits, "memory": how if job.memory else "none", "cpu": cpu}
    return ProcessPlan({**common, **enforced, "limits": limits}, environment)


def _in_container(
    job: JobSpec,
    folder: Path,
    machine: HostCapabilities,
    engine: Engine,
    common: Mapping[str, Any],
    limits: Mapping[str, str],
) -> ProcessPlan:
    given = {**job.env, **job.secrets}
    container = JobContainer(
        job=job.job,
        image=job.image or job.service.image,
        folder=folder,
        scripts=SCRIPTS,
        rclone=machine.rclone,
        memory=job.memory,
        cpu=job.cpu,
        variables=given.keys(),
        host_network=needs_host_network(given),
        bundles={name: path for name, path in job.secrets.items() if name.startswith(BUNDLE)},
    )
    client = {name: machine.own[name] for name in _CLIENT if name in machine.own}
    commands = {
        "command": container.run(engine),
        "inspect": container.inspect(engine),
        "remove": container.remove(engine),
        "nice": 0,
    }
    limits = {**limits, "memory": engine.name, "cpu": engine.name, "isolation": engine.name}
    return ProcessPlan({**common, **commands, "limits": limits}, {**client, **given, **container.inside()})
