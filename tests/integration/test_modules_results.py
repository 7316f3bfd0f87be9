# SPDX-License-Identifier: Apache-2.0
"""What the modules show and fetch is what the job wrote: not what has a similar name, is newer, or was there before."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from parts.ansible_run import Ansible
from parts.daemon import Daemon
from parts.site import Site, file_service
from parts.waiting import eventually

COPY = """#!/bin/sh
name=$(basename "$INPUT_FILE_PATH")
tr a-z A-Z < "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/$name.txt"
mkdir "$TMP_OUTPUT_DIR/deep"
echo "about $name" > "$TMP_OUTPUT_DIR/deep/$name"
echo "$name is done" > "$TMP_OUTPUT_DIR/.summary"
"""
RENAMED = '#!/bin/sh\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/result.json"\n'
NAMES = ["sample.csv", "sample-1.csv", "sample_old.csv", "my sample.csv"]
OLDER = 1200  # more than one page of a listing


@pytest.fixture(scope="module", autouse=True)
def _services(daemon: Daemon) -> None:
    daemon.apply(
        file_service("sampled", COPY), file_service("twice", COPY), file_service("stuck", "#!/bin/sh\nsleep 600\n")
    )
    daemon.wait_ready("sampled", "twice", "stuck")


def access(daemon: Daemon) -> dict[str, Any]:
    """Defaults for the whole action group."""
    options = {"endpoint": daemon.url, "username": daemon.username, "password": daemon.password}
    return {"module_defaults": {"group/fedcloud.oscar.oscar": options}}


def files_below(folder: Path) -> dict[str, str]:
    return {str(one.relative_to(folder)): one.read_text() for one in folder.rglob("*") if one.is_file()}


def test_each_dest_holds_exactly_its_own_results(newest: Ansible, site: Site, tmp_path: Path) -> None:
    store = site.minio.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(store, f"out/sample.csv.{number}"), range(OLDER)))
    for name in NAMES:
        (tmp_path / name).write_text(f"text of {name}", encoding="utf-8")
    invoke = {"service": "sampled", "src": f"{tmp_path}/{{{{ item }}}}", "dest": f"{tmp_path}/results/{{{{ item }}}}"}
    start = {
        "name": "start",
        "fedcloud.oscar.invocation": invoke,
        "loop": NAMES,
        "async": 300,
        "poll": 0,
        "register": "jobs",
    }
    wait = {
        "name": "wait",
        "ansible.builtin.async_status": {"jid": "{{ item.ansible_job_id }}"},
        "loop": "{{ jobs.results }}",
        "register": "ended",
        "until": "ended is finished",
        "retries": 150,
        "delay": 2,
    }
    run = newest.play([start, wait], **access(site.daemon))
    for name, result in zip(NAMES, run["wait"].result["results"], strict=True):
        wanted = {f"{name}.txt": f"TEXT OF {name.upper()}", f"deep/{name}": f"about {name}\n"}
        assert files_below(tmp_path / "results" / name) == wanted
        assert sorted(one["name"] for one in result["outputs"]) == sorted(wanted)
        assert all(one["etag"] and one["provider"] == "minio.default" for one in result["outputs"])
        assert (result["job"]["summary"], result["job"]["outputs_total"]) == (f"{name} is done", 2)
        assert result["changed"]


def put(store: Any, key: str) -> None:
    store.put_object("sampled", key, io.BytesIO(b"old"), 3)


def test_a_new_revision_of_a_service_has_its_own_results(newest: Ansible, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a", encoding="utf-8")
    invoke = {"service": "twice", "src": f"{tmp_path}/a.csv"}
    first = newest.play([{"name": "run", "fedcloud.oscar.invocation": invoke}], **access(daemon))
    daemon.apply(file_service("twice", RENAMED))
    daemon.wait_ready("twice")
    second = newest.play([{"name": "run", "fedcloud.oscar.invocation": invoke}], **access(daemon))
    assert sorted(one["name"] for one in first["run"].result["outputs"]) == ["a.csv.txt", "deep/a.csv"]
    assert [one["name"] for one in second["run"].result["outputs"]] == ["result.json"]
    (read,) = newest.play(
        [{"name": "read", "fedcloud.oscar.job_info": {"id": first["run"].result["job"]["id"]}}], **access(daemon)
    )["read"].result["jobs"]
    assert sorted(one["name"] for one in read["outputs"]) == ["a.csv.txt", "deep/a.csv"]


def test_what_was_sent_is_reported_whatever_becomes_of_it(newest: Ansible, daemon: Daemon) -> None:
    once = {"service": "sampled", "mode": "direct", "body": "x", "idempotency_key": f"key {time.time_ns()}"}
    run = newest.play(
        [
            task("first", **once),
            task("again", **once),
            task("again and not waited for", **once, wait=False),
            task("too long", service="stuck", mode="direct", body="x", wait_timeout=2),
            task("upload too long", service="stuck", body="x", key="in/x", wait_timeout=5),
            {"name": "waiting", "fedcloud.oscar.job_info": {"state": ["queued", "running"], "service": "stuck"}},
        ],
        **access(daemon),
    )
    for name in ("too long", "upload too long"):
        assert (run[name].status, run[name].changed) == ("failed", True)
        assert run[name].result["job"]["service"] == "stuck"
        assert f"job {run[name].result['job']['id']} is still" in run[name].message
    assert run["upload too long"].result["object"]["key"] == "in/x"
    assert [run[name].changed for name in ("first", "again", "again and not waited for")] == [True, False, False]
    assert run["first"].result["job"]["id"] == run["again"].result["job"]["id"]
    ids = {run[name].result["job"]["id"] for name in ("too long", "upload too long")}
    assert {one["id"] for one in run["waiting"].result["jobs"]} == ids
    actions = [{"name": f"cancel {one}", "fedcloud.oscar.job": {"id": one, "action": "cancel"}} for one in sorted(ids)]
    assert all(one.changed for one in newest.play(actions, **access(daemon)).tasks)


def task(title: str, **options: Any) -> dict[str, Any]:
    return {"name": title, "fedcloud.oscar.invocation": options, "ignore_errors": True}


def test_a_bucket_that_services_use_is_kept(newest: Ansible, daemon: Daemon) -> None:
    absent = {"name": "stuck", "state": "absent", "data": "delete"}
    run = newest.play(
        [
            {"name": "checked", "fedcloud.oscar.bucket": absent, "check_mode": True, "ignore_errors": True},
            {"name": "kept", "fedcloud.oscar.bucket": absent, "ignore_errors": True},
            {"name": "forced", "fedcloud.oscar.bucket": {**absent, "force": True}},
        ],
        **access(daemon),
    )
    for name in ("checked", "kept"):
        assert run[name].message.startswith("bucket stuck is used by stuck"), run[name].message
    assert run["forced"].changed
    with daemon.client() as client:
        eventually(lambda: client.get("/v2/buckets/stuck").status_code == 200)  # the service is declared still
    daemon.wait_ready("stuck")


def test_why_names_who_watches_where(daemon: Daemon) -> None:
    with daemon.client() as client:

        def why(**query: str) -> dict[str, Any]:
            (answer,) = client.get("/v2/why", params=query).json()["answers"]
            return dict(answer)

        wrong_folder = why(bucket="sampled", key="in2/a.csv")
        assert wrong_folder["service"] == "sampled"
        assert wrong_folder["detail"] == ("no service watches sampled/in2/, sampled watches sampled/in/")
        assert "bucket nosuch-bucket does not exist" in why(bucket="nosuch-bucket", key="in/a.csv")["detail"]
        assert why(bucket="sampled", key="in/a.csv", service="nope")["detail"] == "service nope is not declared"
        assert "in/ is a folder" in why(bucket="sampled", key="in/")["detail"]
        assert "has no object sampled/in/never.csv" in why(bucket="sampled", key="in/never.csv")["detail"]
