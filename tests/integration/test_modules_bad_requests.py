# SPDX-License-Identifier: Apache-2.0
"""Mistakes of users: each is told with its place, its value and what would be right."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import httpx
from parts.ansible_run import Ansible
from parts.bad_requests import FIELDS, FILES, GOOD, expectations, fdl_text, write_files
from parts.daemon import Daemon
from parts.ports import free_port


def test_bad_files_are_explained_without_a_server(ansible: Ansible, tmp_path: Path) -> None:
    files = write_files(tmp_path / "fdl")
    run = ansible.play(
        [
            {
                "name": "bad files",
                "fedcloud.oscar.service": {"endpoint": "http://127.0.0.1:9", "password": "x", "fdl": "{{ item }}"},
                "loop": [str(file) for file in files],
                "failed_when": False,
            }
        ]
    )
    results = run["bad files"].result["results"]
    wanted = expectations(tmp_path / "fdl")
    assert len(results) == len(wanted) >= 60
    for (text, *_), (place, value, hint), result in zip([*FIELDS, *FILES], wanted, results, strict=True):
        (error,) = result.get("errors") or [{"path": result["msg"]}]
        assert (error["path"], str(error["value"])) == (place, str(value)), text  # values are shown as written
        assert hint in error["hint"], text
        told = "; ".join(filter(None, (f"{place}: {error['message']}", error["hint"])))
        assert re.fullmatch(rf"/\S+/case\d+\.yml(:\d+:\d+)?: {re.escape(told)}", result["msg"]) or (
            place == "fdl" and result["msg"] == told
        ), text


def test_the_server_says_the_same(daemon: Daemon, oldest: Ansible, tmp_path: Path) -> None:
    """What the action plugin finds on the controller is what the server would have answered."""
    fields = [text for text, *_ in FIELDS if not text.startswith("script: ")]
    files = [tmp_path / f"{number}.yml" for number in range(len(fields))]
    for file, text in zip(files, fields, strict=True):
        file.write_text(fdl_text(text), encoding="utf-8")
    (tmp_path / "ok.sh").write_text("ok.sh", encoding="utf-8")
    task = {"endpoint": daemon.url, "password": "x", "fdl": "{{ item }}"}
    loop = {"loop": [str(file) for file in files], "failed_when": False}
    run = oldest.play([{"name": "bad files", "fedcloud.oscar.service": task, **loop}])
    with daemon.client() as client:
        for file, result in zip(files, run["bad files"].result["results"], strict=True):
            body = "fdl:\n" + textwrap.indent(file.read_text(encoding="utf-8"), "  ")
            headers = {"Content-Type": "application/yaml"}
            answer = client.post("/v2/services:apply", params={"dry_run": "true"}, content=body, headers=headers)
            assert answer.status_code == 422, body
            assert _without_places(answer.json()["errors"]) == _without_places(result["errors"])


def _without_places(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out where in its text each error is: the server was sent another text."""
    return [{name: error[name] for name in ("path", "value", "message", "hint")} for error in errors]


def test_all_errors_come_at_once(ansible: Ansible, tmp_path: Path) -> None:
    (tmp_path / "ok.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "fdl.yml").write_text(fdl_text("{memory: 2 GB, cpu: much, nmae: x, output: [{path: photos/out}]}"))
    options = {"endpoint": "http://127.0.0.1:9", "password": "x", "fdl": str(tmp_path / "fdl.yml")}
    run = ansible.play([{"name": "bad", "fedcloud.oscar.service": options, "ignore_errors": True}])
    lines = run["bad"].message.splitlines()
    assert lines[0] == "4 errors were found:"
    assert {line.split(": ")[1] for line in lines[1:]} == {
        f"functions.oscar[1].here.{place}" for place in ("nmae", "memory", "cpu", "output[0].storage_provider")
    }
    assert all(line.startswith(f"- {tmp_path}/fdl.yml:") for line in lines[1:])


INLINE = {**GOOD, "script": "#!/bin/sh\n"}
LOOPING = [{"storage_provider": "minio", "path": "looping"}]
REQUESTS: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "data with present",
        "service",
        {"definition": INLINE, "data": "keep"},
        "data can be given with state=absent only",
    ),
    ("names with present", "service", {"name": "grayify"}, "fdl and definition are missing"),
    ("two sources", "service", {"definition": INLINE, "name": "x"}, "name: definition is given too; give one of"),
    ("nothing to remove", "service", {"state": "absent"}, "names, fdl and definition are missing"),
    ("no dictionary", "service", {"definition": "grayify"}, "definition: the value is text, but must be a mapping"),
    ("no such state", "service", {"name": "x", "state": "started"}, "value of state must be one of: present, absent"),
    ("bad filter", "service", {"definition": INLINE | {"filter": "a ["}}, "definition.filter: "),
    ("endless loop", "service", {"definition": INLINE | {"input": LOOPING, "output": LOOPING}}, "looping"),
    ("wrong password", "service_info", {"password": "wrong"}, "refused user admin: "),
    ("wrong token", "service_info", {"token": "wrong"}, "refused the token: "),
    ("no server", "service_info", {"endpoint": "http://127.0.0.1:{port}"}, "cannot be reached: Connection refused"),
    ("no scheme", "service_info", {"endpoint": "127.0.0.1"}, "127.0.0.1 cannot be reached: unknown url type"),
    (
        "wrong path",
        "service_info",
        {"endpoint": "{url}/dashboard"},
        "there is no /dashboard/v2/services; did you mean /v2/services?",
    ),
    ("no TLS there", "service_info", {"endpoint": "{https}"}, "cannot be reached: "),
    ("no such service", "invocation", {"service": "nobody", "body": "x", "key": "x"}, "service nobody does not exist"),
    ("nothing to send", "invocation", {"service": "nobody"}, "one of the following is required: src, body, body_json"),
    ("two things to send", "invocation", {"service": "a", "body": "x", "src": "/x"}, "exclusive: src|body|body_json"),
    ("no such job", "job", {"id": "nothing", "state": "cancelled"}, "job nothing does not exist"),
    ("no wish", "job", {"id": "nothing"}, "one of the following is required: action, state"),
    ("no such job to read", "job_info", {"id": "nothing"}, "job nothing does not exist"),
    ("key alone", "job_info", {"key": "in/x"}, "bucket"),
    ("bad time", "job_info", {"since": "yesterday"}, "query.since: 'yesterday' is not a time"),
    ("bad limit", "job_info", {"limit": 0}, "limit must be at least 1"),
    ("bad bucket", "bucket", {"name": "Bad_Bucket"}, "'Bad_Bucket' is not a bucket name"),
    ("bucket data", "bucket", {"name": "abc", "data": "delete"}, "data can be given with state=absent only"),
]


def test_bad_requests_are_explained(oldest: Ansible, daemon: Daemon) -> None:
    values = {"url": daemon.url, "port": free_port(), "https": daemon.url.replace("http:", "https:")}
    tasks = [
        {
            "name": name,
            f"fedcloud.oscar.{module}": {
                option: value.format(**values) if option == "endpoint" else value for option, value in options.items()
            },
            "ignore_errors": True,
        }
        for name, module, options, _ in REQUESTS
    ]
    defaults = {"endpoint": daemon.url, "username": daemon.username, "password": daemon.password}
    run = oldest.play(tasks, module_defaults={"group/fedcloud.oscar.oscar": defaults})
    assert {task.status for task in run.tasks} == {"failed"}
    wrong = {name: run[name].message for name, _, _, message in REQUESTS if message not in run[name].message}
    assert wrong == {}
    assert httpx.get(f"{daemon.url}/livez").status_code == 200
