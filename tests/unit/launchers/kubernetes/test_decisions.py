# SPDX-License-Identifier: Apache-2.0
"""What the Kubernetes launcher concludes from Jobs and Pods, and how it writes variables down."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.config import ConfigError, KubernetesConfig, parse
from oscar_fedcloud.launchers.kubernetes import job_results as endings
from oscar_fedcloud.launchers.kubernetes import pod_problems as troubles
from oscar_fedcloud.launchers.kubernetes.env_file import variables_file
from oscar_fedcloud.launchers.kubernetes.objects import Job, Pod
from oscar_fedcloud.launchers.kubernetes.template import security
from oscar_fedcloud.launchers.port import LaunchError
from oscar_fedcloud.launchers.process.process_plan import RUNNER
from oscar_fedcloud.launchers.runner.result import Result

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))) | st.binary().map(
    lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)


def pod(phase: str, state: dict[str, Any] | None = None, **status: Any) -> Pod:
    """A Pod whose main container stands like this."""
    statuses = [{"name": "oscar-container", "image": "i:1", "state": state}] if state else []
    document = {
        "metadata": {"name": "p", "labels": {"batch.kubernetes.io/job-name": "j"}},
        "spec": {"nodeName": "node-7", "activeDeadlineSeconds": 60},
        "status": {"phase": phase, "containerStatuses": statuses, **status},
    }
    return msgspec.convert(document, Pod)


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


def job(type_: str = "", reason: str = "", message: str = "") -> Job:
    conditions = [{"type": type_, "status": "True", "reason": reason, "message": message}] if type_ else []
    return msgspec.convert({"metadata": {"name": "j"}, "status": {"conditions": conditions}}, Job)


@pytest.mark.parametrize(
    ("of", "seen", "state", "reason"),
    [
        (job("Complete"), None, "succeeded", ""),
        (job(), pod("Succeeded", ended(0)), "succeeded", ""),
        (job("Failed", "DeadlineExceeded", "too long"), None, "timeout", "too long"),
        (job("Failed", "BackoffLimitExceeded", "limit"), None, "lost", "its Pod was lost: limit"),
        (job(), pod("Failed", reason="OutOfcpu", message="no cpu"), "launch_failed", "node node-7 refused the Pod"),
        (job(), pod("Failed", reason="Evicted", message="node low on memory"), "lost", "low on memory"),
        (
            job(),
            pod("Failed", reason="Evicted", message="Pod exceeds the total limit of containers"),
            "failed",
            "limit",
        ),
        (job(), pod("Failed", ended(128, "permission denied", "StartError")), "launch_failed", "permission denied"),
        (job(), pod("Failed", ended(1, "phase=script\nexit=1; rm\nreason=x")), "failed", "exit code is '1; rm'"),
        (job(), pod("Failed", ended(1, "phase=script\nexit=99999999999999999999\n")), "failed", "cannot be used"),
        (job(), pod("Succeeded", ended(0, f"phase=done\nexit={'9' * 5000}\n")), "failed", "more than 4096 bytes"),
        (job(), pod("Failed", reason="Evicted", message='Usage of EmptyDir volume "work" exceeds'), "failed", "work"),
        (job(), pod("Failed", ended(121, "phase=stage_in\nexit=121\nreason=gone")), "input_gone", "gone"),
        (job(), pod("Failed", ended(143, "phase=stopped\nexit=143\nreason=s")), "lost", "ended from outside"),
        (job(), pod("Failed"), "lost", "its Pod on node node-7 was lost"),
        (
            job(),
            pod("Failed", initContainerStatuses=[{"name": "tools", "state": ended(1, "no cp")}]),
            "launch_failed",
            "rclone could not be copied",
        ),
    ],
)
def test_an_end(of: Job, seen: Pod | None, state: str, reason: str) -> None:
    found = endings.ending("j", of, seen)
    assert found is not None
    assert found.state == state
    assert reason in found.reason


@pytest.mark.parametrize("seen", [None, pod("Pending"), pod("Running", {"running": {}})])
def test_no_end(seen: Pod | None) -> None:
    assert endings.ending("j", job(), seen) is None


def test_what_the_runner_recorded_is_the_end() -> None:
    assert endings.of_record("j", Result("done")).state == "succeeded"
    assert endings.of_record("j", Result("script", 4, "r")).exit_code == 4
    assert endings.of_record("j", Result("stopped", 143)).state == "lost"


def test_troubles_are_told_apart() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "denied"}}
    assert troubles.of_image(pod("Pending", waiting)) == "image i:1 cannot be pulled: denied"
    assert troubles.of_container(pod("Pending", waiting)) == ""
    assert troubles.of_image(pod("Pending", {"waiting": {"reason": "ContainerCreating"}})) == ""
    assert troubles.pod_refused("j", "quota").reason == "its Pod cannot be created: quota"


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), VALUES, max_size=5))
def test_a_file_of_variables_holds_one_line_for_each(variables: dict[str, str]) -> None:
    text = variables_file(variables)
    assert text.count("\n") == len(variables)
    text.encode()  # Kubernetes takes nothing but UTF-8


@pytest.mark.parametrize(
    "value", ["a\\b\\n\\0101\\c", "x\ny\n", "$(id) `id` ${HOME} '\"", " a ", "\udcff\udc80ÿ", "", "-n"]
)
def test_the_runner_reads_each_value_back(tmp_path: Path, value: str) -> None:
    (tmp_path / "v").write_text(variables_file({"VALUE": value, "UID": "7", "OSCAR_RESULT": "/dev/null"}))
    head = RUNNER.read_text().partition("o_phase=stage_in")[0]
    (tmp_path / "runner.sh").write_text(head + 'printf %s "$VALUE"\n')
    done = subprocess.run(["/bin/sh", tmp_path / "runner.sh", tmp_path / "v"], capture_output=True, check=True)
    assert done.stdout.decode("utf-8", "surrogateescape") == value


@pytest.mark.parametrize("variables", [{"A": "\0"}, {"A=B": ""}, {"A\nB": ""}, {"": ""}])
def test_what_no_environment_can_hold_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(LaunchError, match="cannot be set"):
        variables_file(variables)


def test_levels_of_security() -> None:
    assert security("baseline", 0, 0, 1000)[0] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert security("baseline", 5, 0, 1000)[0]["runAsGroup"] == 5
    assert security("restricted", 0, 7, 1000)[0]["runAsUser"] == 1000
    assert security("restricted", 0, 7, 1000)[0]["runAsGroup"] == 7


def config(**launcher: Any) -> Any:
    store = {"type": "minio", "endpoint": "http://127.0.0.1:9000"}
    return parse({"data_dir": "/d", "admin_password": "x", "providers": {"minio.default": store}, "launcher": launcher})


def test_the_configuration_of_a_cluster() -> None:
    found = config(type="kubernetes", kubeconfig="/k", tools="copy")
    assert isinstance(found.launcher, KubernetesConfig)
    assert found.launcher.rclone == "/oscar/tools/usr/local/bin/rclone"
    assert found.max_running == 3000
    assert config(nice=3).launcher.kind == "process"


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ({"type": "kubernets"}, "kubernets"),
        ({"type": "kubernetes", "nice": 3}, "nice"),
        ({"type": "process", "kubeconfig": "/k"}, "kubeconfig"),
        ({"type": "kubernetes", "tools": "volume"}, "volume"),
        ({"type": "kubernetes", "tools_image": ""}, "launcher.tools_image is empty"),
        ({"type": "kubernetes", "tools_rclone": "rclone"}, "must be an absolute path"),
        ({"type": "kubernetes", "job_ttl": 0}, "launcher.job_ttl is 0"),
        ({"type": "kubernetes", "disk_limit": -1}, "launcher.disk_limit is -1"),
        ({"type": "kubernetes", "schedule_timeout": -1.0}, "launcher.schedule_timeout is -1.0"),
    ],
)
def test_a_bad_configuration_gets_one_sentence(launcher: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config(**launcher)
    assert "\n" not in str(caught.value)
