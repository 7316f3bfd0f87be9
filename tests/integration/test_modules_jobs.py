# SPDX-License-Identifier: Apache-2.0
"""invocation, job, job_info and bucket through ansible-playbook, against the running invoker and its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts.ansible_run import Ansible
from parts.daemon import Daemon
from parts.site import file_service

CAPITALS = """#!/bin/sh
echo "$STORAGE_OBJECT_KEY"
tr a-z A-Z < "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/$(basename "$INPUT_FILE_PATH")"
"""
FAIL = "#!/bin/sh\nfor line in $(seq 30); do echo line $line; done\necho it went wrong >&2\nexit 3\n"
SLOW = "#!/bin/sh\nsleep 600\n"


@pytest.fixture(scope="module", autouse=True)
def _services(daemon: Daemon) -> None:
    """Services that copy their input in capitals, that fail, and that never end."""
    only_txt = [{"storage_provider": "minio", "path": "capitals/in", "suffix": [".txt"]}]
    daemon.apply(
        {**file_service("capitals", CAPITALS), "input": only_txt},
        {**file_service("failing", FAIL), "input": []},
        file_service("slow", SLOW),
    )
    daemon.wait_ready("capitals", "failing", "slow")


def access(daemon: Daemon) -> dict[str, Any]:
    """Defaults for the whole action group."""
    options = {"endpoint": daemon.url, "username": daemon.username, "password": daemon.password}
    return {"module_defaults": {"group/fedcloud.oscar.oscar": options}}


def task(title: str, module: str, check: bool = False, **options: Any) -> dict[str, Any]:
    """A task that may fail, with its result registered under its name."""
    checked = {"check_mode": True} if check else {}
    return {
        "name": title,
        f"fedcloud.oscar.{module}": options,
        "ignore_errors": True,
        "register": title.replace(" ", "_"),
        **checked,
    }


def test_a_file_goes_through_a_service_and_comes_back(ansible: Ansible, daemon: Daemon, tmp_path: Path) -> None:
    name = f"odd name + %20 é {ansible.version}.txt"
    source = tmp_path / name
    source.write_text("hello", encoding="utf-8")
    upload = {"service": "capitals", "src": str(source)}
    run = ansible.play(
        [
            task("checked", "invocation", check=True, **upload),
            task("uploaded", "invocation", **upload, dest=str(tmp_path / "out")),
            task("uploaded again", "invocation", **upload, dest=str(tmp_path / "again")),
            task("body", "invocation", service="capitals", body="text", key=f"in/sub/{ansible.version}/b.txt"),
            task("not waited for", "invocation", **upload, wait=False),
            task("filtered", "invocation", service="capitals", body="x", key="in/x.jpg", wait_timeout=60),
            task("beside", "invocation", service="capitals", body="x", key="elsewhere/x.txt"),
            task("other bucket", "invocation", service="capitals", body="x", key="in/x.txt", bucket="nowhere"),
            task("no key", "invocation", service="capitals", body="x"),
            task("no file", "invocation", service="capitals", src=str(tmp_path / "missing.txt")),
            task("no input", "invocation", service="failing", body="x", key="x"),
        ],
        **access(daemon),
    )
    assert run["checked"].result["object"] == {"bucket": "capitals", "key": f"in/{name}"}
    for again in ("uploaded", "uploaded again"):
        result = run[again].result
        assert (run[again].changed, result["exit_code"], result["job"]["state"]) == (True, 0, "succeeded")
        (output,) = result["outputs"]
        assert (output["bucket"], output["key"], output["size"]) == ("capitals", f"out/{name}", 5)
        assert Path(output["path"]).read_text(encoding="utf-8") == "HELLO"
    assert Path(run["uploaded"].result["outputs"][0]["path"]) == tmp_path / "out" / name
    assert run["uploaded"].result["job"]["id"] != run["uploaded again"].result["job"]["id"]
    assert run["body"].result["job"]["key"] == f"in/sub/{ansible.version}/b.txt"
    assert run["not waited for"].result["job"] is None
    assert "capitals/in/x.jpg starts no job: " in run["filtered"].message
    refused = "key elsewhere/x.txt would not start service capitals; keys of its inputs start with in/"
    assert run["beside"].message == refused
    assert run["other bucket"].message == "service capitals has no input in bucket nowhere; its inputs: capitals/in"
    assert run["no key"].message.startswith("key is missing")
    assert run["no file"].message.endswith("missing.txt cannot be read: No such file or directory")
    assert run["no input"].message == "service failing has no input; use mode direct"


def test_a_body_starts_a_job_directly(newest: Ansible, daemon: Daemon) -> None:
    once = {"service": "capitals", "mode": "direct", "idempotency_key": "once"}
    run = newest.play(
        [
            task("json", "invocation", service="capitals", mode="direct", body_json={"a": [1]}),
            task("once", "invocation", **once, body="x", wait=False),
            task("twice", "invocation", **once, body="x"),
            task("failure", "invocation", service="failing", mode="direct", body="x"),
        ],
        **access(daemon),
    )
    (output,) = run["json"].result["outputs"]
    with daemon.client() as client:
        assert client.get(f"/v2/buckets/capitals/objects/{output['key']}").text == '{"A": [1]}'
    assert run["once"].result["job"]["id"] == run["twice"].result["job"]["id"]
    assert run["failure"].status == "failed"
    assert run["failure"].result["exit_code"] == 3
    assert run["failure"].result["job"]["state"] == "failed"
    lines = run["failure"].message.splitlines()
    assert lines[0].startswith(f"job {run['failure'].result['job']['id']} of service failing ended failed: ")
    assert "it went wrong" in lines
    assert "line 1" not in lines


def test_a_job_is_cancelled_retried_and_replayed(oldest: Ansible, daemon: Daemon) -> None:
    job = "{{ started.job.id }}"
    run = oldest.play(
        [
            task("started", "invocation", service="slow", mode="direct", body="x", wait=False),
            task("cancellation checked", "job", check=True, id=job, state="cancelled"),
            task("retried while it runs", "job", id=job, state="retried"),
            task("replayed while it runs", "job", id=job, state="replayed"),
            task("cancelled", "job", id=job, state="cancelled"),
            task("cancelled again", "job", id=job, state="cancelled"),
            task("retried", "job", id=job, state="retried"),
            task("cancelled once more", "job", id=job, state="cancelled"),
            task("replayed", "job", id=job, state="replayed"),
            task("cleared", "job", id=job, state="cancelled"),
            task("read", "job_info", id=job),
            task("quick", "invocation", service="capitals", mode="direct", body="x"),
            task("succeeded and cancelled", "job", id="{{ quick.job.id }}", state="cancelled"),
            task("succeeded and retried", "job", id="{{ quick.job.id }}", state="retried"),
        ],
        **access(daemon),
    )
    assert {one.name: one.changed for one in run.tasks} == {
        "started": True,
        "cancellation checked": True,
        "retried while it runs": False,
        "replayed while it runs": False,
        "cancelled": True,
        "cancelled again": False,
        "retried": True,
        "cancelled once more": True,
        "replayed": True,
        "cleared": True,
        "read": False,
        "quick": True,
        "succeeded and cancelled": False,
        "succeeded and retried": False,
    }
    assert run["cancelled"].result["job"]["state"] == "cancelled"
    assert run["cancelled again"].result["reason"] == ""
    assert run["succeeded and cancelled"].result["reason"] == "a job that is succeeded cannot be cancelled"
    (job_read,) = run["read"].result["jobs"]
    assert len(job_read["attempt_list"]) == job_read["attempts"] <= 3


def test_jobs_are_found_and_explained(newest: Ansible, daemon: Daemon) -> None:
    key = "in/found.txt"
    where = {"bucket": "capitals", "key": key}
    run = newest.play(
        [
            task("ran", "invocation", service="capitals", body="x", key=key),
            task("unknown", "job_info", why={"bucket": "capitals", "key": "in/never.txt"}),
            task("why", "job_info", why={**where, "service": "capitals"}),
            task("by key", "job_info", **where, log=True),
            task("by state", "job_info", service="capitals", state="failed"),
            task("newest", "job_info", service="capitals", limit=1),
            task("since", "job_info", service="capitals", since="{{ ran.job.created }}"),
            task("tail", "job_info", id="{{ ran.job.id }}", log=True, tail=1),
        ],
        **access(daemon),
    )
    job = run["ran"].result["job"]
    assert [one["answer"] for one in run["why"].result["why"]["answers"]] == ["ran"]
    assert run["why"].result["why"]["answers"][0]["job"] == job["id"]
    assert {one["answer"] for one in run["unknown"].result["why"]["answers"]} <= {"unknown"}
    (found,) = run["by key"].result["jobs"]
    assert found["id"] == job["id"]
    assert key in found["log"]
    assert run["by state"].result["jobs"] == []
    assert [one["id"] for one in run["newest"].result["jobs"]] == [job["id"]]
    assert [one["id"] for one in run["since"].result["jobs"]] == [job["id"]]
    assert len(run["tail"].result["jobs"][0]["log"].splitlines()) == 1


def test_the_life_of_a_bucket(newest: Ansible, daemon: Daemon) -> None:
    name = "bucket-of-a-life"
    run = newest.play(
        [
            task("creation checked", "bucket", check=True, name=name),
            task("created", "bucket", name=name),
            task("created again", "bucket", name=name),
            {
                "name": "filled",
                "ansible.builtin.uri": {
                    "url": f"{daemon.url}/v2/buckets/{name}/objects/a.txt",
                    "method": "PUT",
                    "body": "x",
                    "user": daemon.username,
                    "password": daemon.password,
                    "force_basic_auth": True,
                    "status_code": 201,
                },
            },
            task("full bucket checked", "bucket", check=True, name=name, state="absent"),
            task("full bucket kept", "bucket", name=name, state="absent"),
            task("removal checked", "bucket", check=True, name=name, state="absent", data="delete"),
            task("removed", "bucket", name=name, state="absent", data="delete"),
            task("removed again", "bucket", name=name, state="absent"),
        ],
        "--diff",
        **access(daemon),
    )
    changed = {one.name: one.changed for one in run.tasks if one.status == "ok"}
    assert changed == {
        "creation checked": True,
        "created": True,
        "created again": False,
        "filled": False,
        "removal checked": True,
        "removed": True,
        "removed again": False,
    }
    assert run["created"].diff == run["creation checked"].diff == f"+ bucket: {name}"
    assert run["removed"].diff == run["removal checked"].diff == f"- bucket: {name}"
    for refused in ("full bucket checked", "full bucket kept"):
        assert run[refused].message.startswith(f"bucket {name} is not empty; set data to delete")
