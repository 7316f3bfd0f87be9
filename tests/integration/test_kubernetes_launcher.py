# SPDX-License-Identifier: Apache-2.0
"""Uploads become Jobs of a real API server, through the real daemon and with the rights of its service account.

There is no node: the test says how Pods stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts.kube import KubeServer
from parts.kubelet import ClusterSite, cluster_site, told, upload
from parts.site import file_service
from parts.waiting import eventually

ONCE = {"attempts": 1, "infrastructure": 0}
KEYS = (
    "in/$(id) `id` $HOME ${PATH}.txt",
    "in/$(OSCAR_JOB) $$(JOB_UUID).txt",
    "in/a'b\"c\\n\\\\d;e&f|g.txt",
    "in/ leading and trailing .txt ",
    "in/newline\nand tab\t.txt",
    "in/naïve ☃ %41+.txt",
    "in/-rf --config=x",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSite]:
    """A site in front of a control plane, for the tests of this file."""
    with KubeServer() as kube:
        patience = {"image_timeout": 2.0, "schedule_timeout": 2.0}
        with cluster_site(tmp_path_factory.mktemp("site"), kube, patience) as running:
            yield running


def declare(site: ClusterSite, name: str, script: str = "true", **fields: Any) -> None:
    """A service that takes files from ``<name>/in``."""
    site.daemon.apply(file_service(name, script, **{"image": "example.org/tool:1", "retry": ONCE, **fields}))
    site.daemon.wait_ready(name)


def job_of(site: ClusterSite, name: str) -> str:
    """A service with one file, whose Job's name this is."""
    declare(site, name)
    upload(site, name, "in/file.txt")
    return str(site.kubelet.jobs(name)[0]["metadata"]["name"])


def ended(site: ClusterSite, name: str) -> dict[str, Any]:
    """The last attempt of the service's one job, after its end."""
    [run] = site.daemon.wait_jobs(1, service=name)
    with site.daemon.client() as http:
        attempt: dict[str, Any] = http.get(f"/v2/jobs/{run['id']}").json()["attempt_list"][-1]
    return {**attempt, "run": run["state"], "key": run["key"]}


def test_a_file_passes_through_the_runner_of_its_job(site: ClusterSite, tmp_path: Path) -> None:
    secrets = {"PASSWORD": "two\nlines \\ $(id) é"}
    script = 'tr a-z A-Z <"$INPUT_FILE_PATH" >"$TMP_OUTPUT_DIR/out"; printf %s "$PASSWORD$MODE" >"$TMP_OUTPUT_DIR/seen"'
    environment = {"variables": {"MODE": "$(OSCAR_JOB) 'x'", "UID": "7"}, "secrets": secrets}
    declare(site, "through", script, environment=environment)
    upload(site, "through", "in/file.txt", b"content")
    name = site.kubelet.jobs("through")[0]["metadata"]["name"]
    done = site.kubelet.execute(name, tmp_path)
    assert done.returncode == 0, done.stdout
    assert ended(site, "through")["state"] == "succeeded"
    store = site.minio.client()
    assert store.get_object("through", "out/out").data == b"CONTENT"
    assert store.get_object("through", "out/seen").data.decode() == secrets["PASSWORD"] + "$(OSCAR_JOB) 'x'"
    assert b"oscar: done" in store.get_object("oscar-logs", f"through/{name}.log").data, done.stdout
    record = store.get_object("oscar-logs", f"through/{name}.result").data
    assert record.startswith(told("done", 0, "done").encode())
    assert record.count(b"\noutput=0 ") == 2
    attempt = ended(site, "through")
    [run] = site.daemon.jobs(service="through")
    with site.daemon.client() as http:
        outputs = http.get(f"/v2/jobs/{run['id']}").json()["outputs"]
    assert {(each["bucket"], each["key"]): each["size"] for each in outputs} == {
        ("through", "out/out"): 7,
        ("through", "out/seen"): len(store.get_object("through", "out/seen").data),
    }, attempt


def test_keys_are_only_file_names(site: ClusterSite, tmp_path: Path) -> None:
    script = (
        'number=$(cat "$INPUT_FILE_PATH")\n'
        'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/out-$number"\n'
        'printf %s "$STORAGE_OBJECT_KEY" >"$TMP_OUTPUT_DIR/key-$number"\n'
    )
    declare(site, "keys", script)
    for number, key in enumerate(KEYS):
        upload(site, "keys", key, str(number).encode())
    for job in site.kubelet.jobs("keys", len(KEYS)):
        (spec,) = job["spec"]["template"]["spec"]["containers"]
        assert not any(part in str(spec) for part in ("$", "id)", ".txt", "-rf"))
        folder = tmp_path / job["metadata"]["name"]
        folder.mkdir()
        assert site.kubelet.execute(job["metadata"]["name"], folder).returncode == 0
    assert all(job["state"] == "succeeded" for job in site.daemon.wait_jobs(len(KEYS), service="keys"))
    store = site.minio.client()
    for number, key in enumerate(KEYS):
        assert store.get_object("keys", f"out/key-{number}").data.decode() == key
        assert store.get_object("keys", f"out/out-{number}").data == str(number).encode()


def test_a_job_is_as_safe_as_it_can_be(site: ClusterSite) -> None:
    fields: dict[str, Any] = {"labels": {"team": "blue"}, "annotations": {"example.org/x": "y z"}, "timeout": 60}
    wanted = {"gpus": 2, "cpu_limit": True, "node_selector": {"disk": "ssd"}, "image_pull_policy": "Always"}
    wanted |= {"tolerations": [{"key": "gpu", "operator": "Exists"}], "run_as_user": 4000}
    declare(site, "shape", cpu="1", memory="1Gi", kubernetes=wanted, image_pull_secrets=["mine"], **fields)
    upload(site, "shape", "in/file.txt")
    job = site.kubelet.jobs("shape")[0]
    assert job["metadata"]["labels"]["team"] == "blue"
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["ttlSecondsAfterFinished"] == 300
    assert job["spec"]["template"]["metadata"]["annotations"]["example.org/x"] == "y z"
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["activeDeadlineSeconds"] == 60
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["imagePullSecrets"] == [{"name": "mine"}]
    assert {"key": "gpu", "operator": "Exists"} in pod["tolerations"]
    assert [each.get("tolerationSeconds") for each in pod["tolerations"]] == [30, 30, None]
    security = {"runAsNonRoot": True, "runAsUser": 4000, "runAsGroup": 4000}
    assert pod["securityContext"] == {**security, "seccompProfile": {"type": "RuntimeDefault"}}
    (main,) = pod["containers"]
    assert main["imagePullPolicy"] == "Always"
    assert main["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    limits = {"cpu": "1", "memory": "1073741824", "nvidia.com/gpu": "2", "ephemeral-storage": str(20 << 30)}
    assert main["resources"]["limits"] == limits
    assert main["resources"]["requests"]["ephemeral-storage"] == "0"
    assert {"name": "work", "emptyDir": {"sizeLimit": str(20 << 30)}} in pod["volumes"]
    assert main["resources"]["requests"]["memory"] == "1073741824"
    assert site.minio.secret_key not in str([job, *(site.kubelet.objects(kind) for kind in ("configmaps", "secrets"))])


ENDS = {
    "exit-3": ({"code": 3, "message": told("script", 3, "the script ended")}, "failed", 3, "the script ended"),
    "oom": ({"code": 137, "reason": "OOMKilled"}, "oom", None, "memory limit"),
    "oom-script": ({"code": 137, "reason": "OOMKilled", "message": told("script", 137, "x")}, "oom", 137, "memory"),
    "deadline": (
        {"code": 143, "message": told("stopped", 143, "stopped"), "reason": "Error"}
        | {"status": {"reason": "DeadlineExceeded"}},
        "timeout",
        None,
        "ran longer than its timeout",
    ),
    "no-shell": (
        {"code": 128, "reason": "StartError", "message": 'exec: "/bin/sh": stat /bin/sh: no such file or directory'},
        "failed",
        None,
        "the image has no /bin/sh",
    ),
    "staging": ({"code": 120, "message": told("stage_in", 120, "no store")}, "staging_failed", None, "no store"),
    "killed": ({"code": 137}, "lost", None, "ended from outside"),
    "node-lost": (
        {"code": 137}
        | {"status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "message": "node gone"}]}},
        "lost",
        None,
        "node gone",
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_ends_and_their_reasons(site: ClusterSite, case: str) -> None:
    how, state, code, reason = ENDS[case]
    status = how.get("status", {})
    job = job_of(site, f"end-{case}")
    site.kubelet.end(job, **{name: value for name, value in how.items() if name != "status"}, status=status)
    found = ended(site, f"end-{case}")
    assert (found["state"], found["exit_code"]) == (state, code)
    assert reason in found["reason"]


def test_an_image_that_does_not_come_ends_the_attempt(site: ClusterSite) -> None:
    job = job_of(site, "image")
    site.kubelet.wait_for(job, "ImagePullBackOff", "not found")
    found = ended(site, "image")
    assert found["state"] == "launch_failed"
    assert found["reason"] == "image example.org/tool:1 cannot be pulled: not found"
    eventually(lambda: not site.kubelet.objects("jobs", fieldSelector=f"metadata.name={job}"))


def test_an_image_for_root_is_explained(site: ClusterSite) -> None:
    job = job_of(site, "rooted")
    site.kubelet.wait_for(job, "CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
    found = ended(site, "rooted")
    assert found["state"] == "failed"
    assert "pod_security: baseline" in found["reason"]


def test_without_a_node_the_attempt_ends_but_not_behind_others_of_its_service(site: ClusterSite) -> None:
    declare(site, "node")
    upload(site, "node", "in/1")
    first = site.kubelet.jobs("node")[0]["metadata"]["name"]
    site.kubelet.place(first)
    site.kubelet.run(first)
    upload(site, "node", "in/2")
    names = {job["metadata"]["name"] for job in site.kubelet.jobs("node", 2)}
    (second,) = names - {first}
    why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2: Insufficient cpu"}
    site.kubelet.say(second, phase="Pending", conditions=[why])
    with pytest.raises(AssertionError):
        eventually(lambda: [job for job in site.daemon.jobs(service="node") if job["state"] == "failed"], 8)
    site.kubelet.end(first)
    jobs = site.daemon.wait_jobs(2, service="node")
    assert {job["key"]: job["state"] for job in jobs} == {"in/1": "succeeded", "in/2": "failed"}
    assert "cannot be scheduled: 0/2: Insufficient cpu" in next(job["reason"] for job in jobs if job["key"] == "in/2")


def test_cancelling_deletes_the_job(site: ClusterSite) -> None:
    job = job_of(site, "cancel")
    site.kubelet.run(job)
    with site.daemon.client() as http:
        [run] = site.daemon.jobs(service="cancel")
        http.post(f"/v2/jobs/{run['id']}:cancel").raise_for_status()
    assert ended(site, "cancel")["state"] == "cancelled"
    assert not site.kubelet.objects("jobs", fieldSelector=f"metadata.name={job}")
