# SPDX-License-Identifier: Apache-2.0
"""Where a Job runs and by which command: on the host or in a container."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from oscar_fedcloud.config import LauncherConfig
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.fdl import parse_service
from oscar_fedcloud.launchers.port import JobSpec, LaunchError
from oscar_fedcloud.launchers.process.container import Engine, needs_host_network
from oscar_fedcloud.launchers.process.process_plan import RUNNER, SCRIPTS, HostCapabilities, plan_job

FOLDER = Path("/data/jobs/step-run-1")
DOCKER = Engine("docker", "/usr/bin/docker")
MACHINE = HostCapabilities(
    Path("/usr/bin/rclone"), "", False, True, "docker is not installed", {"HOME": "/home/me", "TOKEN": "daemon"}
)
RUN = Run("run", "step", StorageEvent("minio.default", "b", "k", "r", 1), RunState.RUNNING, "", 1, 0, 0, 0.0, 0.0, None)
JOB = JobSpec(
    job="step-run-1",
    service=parse_service({"name": "step", "image": "ghcr.io/x/tool:1", "script": "true"}),
    service_revision="1",
    script=b"true",
    run=RUN,
    attempt=1,
    env={"GREETING": "two words", "OSCAR_SERVICE_NAME": "step"},
    secrets={"RCLONE_CONFIG_MINIO_DEFAULT_ENDPOINT": "https://s3.example.org", "PASSWORD": "s3cret"},
    memory=256 << 20,
    cpu=0.5,
    timeout=60.0,
    image="ghcr.io/x/tool:1",
)


def config(container: Literal["auto", "never", "require"], **fields: int) -> LauncherConfig:
    return LauncherConfig(container=container, path=("/usr/bin", "/bin"), **fields)


def test_on_the_host() -> None:
    plan = plan_job(JOB, FOLDER, config("never", nice=7), MACHINE, 10.0)
    assert plan.spec["command"] == ["/bin/sh", str(RUNNER)]
    assert (plan.spec["watched_memory"], plan.spec["cgroup"], plan.spec["nice"]) == (256 << 20, "", 7)
    assert plan.spec["limits"] == {
        "memory": "watched",
        "cpu": "nice 7",
        "timeout": "watched",
        "isolation": "none: runs as the invoker's user, for trusted scripts",
    }
    assert plan.environment == {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(FOLDER / "work"),
        "TMPDIR": str(FOLDER / "tmp"),
        **JOB.env,
        **JOB.secrets,
        "OSCAR_RCLONE": "/usr/bin/rclone",
        "OSCAR_SCRIPT": str(FOLDER / "script"),
        "OSCAR_RESULT": str(FOLDER / "out" / "result"),
    }


def test_in_a_cgroup() -> None:
    plan = plan_job(JOB, FOLDER, config("never"), replace(MACHINE, cgroup="/sys/fs/cgroup/mine", shares_cpu=True), 10.0)
    assert (plan.spec["cgroup"], plan.spec["watched_memory"]) == ("/sys/fs/cgroup/mine/step-run-1", 0)
    assert (plan.spec["limits"]["memory"], plan.spec["limits"]["cpu"]) == ("cgroup", "cgroup weight")


def test_limits_that_are_not_enforced_are_told() -> None:
    plan = plan_job(replace(JOB, timeout=0), FOLDER, config("never"), replace(MACHINE, can_watch_memory=False), 10.0)
    assert (plan.spec["limits"]["memory"], plan.spec["limits"]["timeout"]) == ("none", "none")


def test_auto_without_an_engine_says_why_it_runs_on_the_host() -> None:
    plan = plan_job(JOB, FOLDER, config("auto"), MACHINE, 10.0)
    assert plan.spec["command"][0] == "/bin/sh"
    assert "docker is not installed" in plan.spec["limits"]["isolation"]


def test_require_without_an_engine_fails() -> None:
    with pytest.raises(LaunchError, match=r"launcher\.container.*docker is not installed"):
        plan_job(JOB, FOLDER, config("require"), MACHINE, 10.0)


def test_never_ignores_an_engine() -> None:
    plan = plan_job(JOB, FOLDER, config("never"), replace(MACHINE, engine=DOCKER), 10.0)
    assert plan.spec["command"][0] == "/bin/sh"


@pytest.mark.parametrize("container", ["auto", "require"])
def test_in_a_container(container: Literal["auto", "require"]) -> None:
    plan = plan_job(JOB, FOLDER, config(container), replace(MACHINE, engine=DOCKER), 10.0)
    command = plan.spec["command"]
    assert command[:4] == ["/usr/bin/docker", "run", "--name", "oscar-step-run-1"]
    assert command[-4:] == ["--entrypoint", "/bin/sh", "ghcr.io/x/tool:1", "/oscar/runner.sh"]
    options = list(itertools.pairwise(command))
    assert ("--memory", str(256 << 20)) in options
    assert ("--cpus", "0.5") in options
    assert {value for name, value in options if name == "--volume"} == {
        *(f"{script}:/oscar/{script.name}:ro" for script in SCRIPTS),
        "/usr/bin/rclone:/oscar/rclone:ro",
        f"{FOLDER}/script:/oscar/script:ro",
        f"{FOLDER}/out:/oscar/out",
    }
    assert {value for name, value in options if name == "--env"} == {
        *("GREETING", "OSCAR_SERVICE_NAME", "RCLONE_CONFIG_MINIO_DEFAULT_ENDPOINT", "PASSWORD"),
        *("OSCAR_RCLONE", "OSCAR_SCRIPT", "OSCAR_RESULT"),
    }
    assert "--network" not in command
    assert plan.spec["inspect"] == [
        "/usr/bin/docker",
        "inspect",
        "--format",
        "{{.State.OOMKilled}}",
        "oscar-step-run-1",
    ]
    assert plan.spec["remove"] == ["/usr/bin/docker", "rm", "--force", "--volumes", "oscar-step-run-1"]
    assert plan.spec["limits"] == dict.fromkeys(("memory", "cpu", "isolation"), "docker") | {"timeout": "watched"}


def test_values_are_on_no_command_line_and_only_the_client_gets_what_is_ours() -> None:
    plan = plan_job(JOB, FOLDER, config("require"), replace(MACHINE, engine=DOCKER), 10.0)
    assert not any("s3cret" in word or "two words" in word for word in plan.spec["command"])
    assert "s3cret" not in repr(plan.spec)
    assert "s3cret" not in repr(plan)
    assert plan.environment["HOME"] == "/home/me"
    assert "TOKEN" not in plan.environment
    assert plan.environment["OSCAR_RESULT"] == "/oscar/out/result"


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("https://s3.example.org", False),
        ("http://10.0.0.1:9000", False),
        ("", False),
    ],
)
def test_the_hosts_network_only_for_a_store_on_loopback(endpoint: str, host: bool) -> None:
    environment = {"RCLONE_CONFIG_A_ENDPOINT": "https://far.example.org", "RCLONE_CONFIG_B_ENDPOINT": endpoint}
    assert needs_host_network(environment) is host
    local = replace(JOB, secrets={"RCLONE_CONFIG_A_ENDPOINT": endpoint})
    command = plan_job(local, FOLDER, config("auto"), replace(MACHINE, engine=DOCKER), 10.0).spec["command"]
    assert ("--network" in command) is host
